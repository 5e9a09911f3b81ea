"""Blind estimate of the noise level of an image, as a map."""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.physics.median import median_of_magnitudes

BLOCK = 16
# Median of |N(0, 1)|.
MEDIAN_OF_NORMAL = 0.6745


def high_pass(image: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
    """The image less its binomial (1 2 1)/4 smoothing along every axis of space."""
    smooth = image
    for axis in range(1, image.ndim - 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (1, 1)
        wide = jnp.pad(smooth, pad, mode="edge")
        size = smooth.shape[axis]
        left, mid, right = (jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(3))
        smooth = 0.25 * left + 0.5 * mid + 0.25 * right
    return image - smooth


def noise_level(image: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
    """Local noise standard deviation of the high-passed image, in the image's unit.

    The median absolute deviation (Donoho & Johnstone 1994) of the high-pass in blocks of 16
    pixels a side, the median over each block and its neighbours, interpolated linearly to the
    image's grid. Edges are outvoted by the median. For white noise of standard deviation s in
    2-D it gives s * sqrt(1 - 2 * (1/4) + (3/8)**2) = 0.80 s; for correlated noise less: it is a
    consistent input for networks, not a calibrated sigma.
    """
    batch, *space, _ = image.shape
    sides = [min(BLOCK, n) for n in space]
    counts = [math.ceil(n / b) for n, b in zip(space, sides, strict=True)]
    fill = [(0, c * b - n) for c, b, n in zip(counts, sides, space, strict=True)]
    mode = "reflect" if all(f[1] < n for f, n in zip(fill, space, strict=True)) else "edge"
    deviation = jnp.pad(jnp.abs(high_pass(image))[..., 0], [(0, 0), *fill], mode=mode)
    split = [batch, *itertools.chain(*zip(counts, sides, strict=True))]
    order = [0, *range(1, 2 * len(space), 2), *range(2, 2 * len(space) + 1, 2)]
    blocks = deviation.reshape(split).transpose(order).reshape(batch, *counts, -1)
    level = median_of_magnitudes(blocks) / MEDIAN_OF_NORMAL
    level = _median_of_neighbours(level)
    # Resizing to whole blocks first keeps the block centres where they are.
    whole = [c * b for c, b in zip(counts, sides, strict=True)]
    level = jax.image.resize(level, (batch, *whole), "linear")
    return level[(slice(None), *(slice(0, n) for n in space))][..., None]


def _median_of_neighbours(level: Float[Array, "batch *blocks"]) -> Float[Array, "batch *blocks"]:
    """Median over 3 blocks an axis."""
    space = level.shape[1:]
    wide = jnp.pad(level, [(0, 0)] + [(1, 1)] * len(space), mode="edge")
    shifts = itertools.product(range(3), repeat=len(space))
    stack = [
        wide[(slice(None), *(slice(s, s + n) for s, n in zip(shift, space, strict=True)))]
        for shift in shifts
    ]
    return median_of_magnitudes(jnp.stack(stack, axis=-1))
