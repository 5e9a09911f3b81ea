"""Edge loss: the image's finite differences compared instead of its values."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def edge_loss(
    restored: Float[Array, "batch *space channel"],
    clean: Float[Array, "batch *space channel"],
    *,
    spacing: Sequence[float] | None = None,
) -> Float[Array, ""]:
    """Mean absolute difference of the two images' forward differences, averaged over the axes.

    Zero for images that differ by a constant, so it goes beside a pixel loss, never alone. The
    signed form of the gradient difference loss of Mathieu et al., ICLR 2016: theirs compares
    magnitudes and cannot tell an edge from its inverse.

    Args:
      restored: what the network gave.
      clean: what it should have given.
      spacing: millimetres between samples along each space axis; the differences are then per
        millimetre, so thick slices count less. None: per sample.

    Raises:
      ValueError: the shapes differ, an axis has one sample only, or spacing does not have one
        positive number an axis.
    """
    if restored.shape != clean.shape:
        raise ValueError(f"shapes differ: restored {restored.shape}, clean {clean.shape}")
    axes = range(1, restored.ndim - 1)
    steps = [1.0] * len(axes) if spacing is None else [float(s) for s in spacing]
    if len(steps) != len(axes) or min(steps) <= 0:
        raise ValueError(f"spacing {spacing} is not one positive number for each of {len(axes)}")
    if min(restored.shape[1:-1]) < 2:
        raise ValueError(f"no differences along an axis of one sample: {restored.shape}")
    error = restored - clean
    terms = [_mean_difference(error, axis) / step for axis, step in zip(axes, steps, strict=True)]
    return sum(terms[1:], start=terms[0]) / len(terms)


def _mean_difference(error: Array, axis: int) -> Array:
    n = error.shape[axis]
    ahead = lax.slice_in_dim(error, 1, n, axis=axis)
    here = lax.slice_in_dim(error, 0, n - 1, axis=axis)
    return jnp.mean(jnp.abs(ahead - here))
