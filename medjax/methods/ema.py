"""Exponential moving average of a network's variables, the weights that a method restores with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree


def ema_decay_at(step: Int[Array, ""], decay: float) -> Float[Array, ""]:
    """`min(decay, (1 + step) / (10 + step))`: early averages forget the random start at once."""
    t = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + t) / (10 + t))


def update_ema(average: PyTree, current: PyTree, step: Int[Array, ""], decay: float) -> PyTree:
    """Move `average` towards `current`, the variables after step number `step` (from 0).

    Statistics are averaged as the parameters are, so that both speak of the same weights; integer
    leaves are copied.

    Raises:
        ValueError: `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"the decay of a moving average is in [0, 1), not {decay}")
    keep = ema_decay_at(step, decay)

    def move(a: Array, c: Array) -> Array:
        if not jnp.issubdtype(c.dtype, jnp.floating):
            return c
        return a + (1 - keep).astype(a.dtype) * (c - a)

    return jax.tree.map(move, average, current)
