"""Depthwise convolutions on CPU as sums of shifted products.

XLA's CPU kernels take a depthwise convolution for a grouped one and are slower at it than at a
dense one. It has one multiplication for each number read, so a fused loop over the taps is as
fast as memory.
"""

import itertools
from math import prod

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.nn.geometry import Geometry

# Numbers of the output's gradient in a block: what a first-level cache holds with its taps.
_BLOCK = 2**13


def is_depthwise(channels: int, geometry: Geometry) -> bool:
    """Whether each channel is a group of its own."""
    return geometry.groups == channels > 1


def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolve; `kernel` is `[*window, 1, channel * multiple]`."""
    multiple = kernel.shape[-1] // x.shape[-1]
    x = _padded(jnp.repeat(x, multiple, -1) if multiple > 1 else x, geometry)
    window = kernel.shape[:-2]
    out = _out(x, window, geometry)
    taps = _tap_starts(window, geometry)
    return sum(_tap(x, start, out, geometry) * kernel[index][0] for index, start in taps)  # pyright: ignore[reportReturnType]


def weight_gradient(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    """Gradient by the kernel, `[*window, 1, channel * multiple]`.

    One pass over the rows for all taps: XLA's own reduction is several times slower.
    """
    multiple = dy.shape[-1] // x.shape[-1]
    x = _padded(jnp.repeat(x, multiple, -1) if multiple > 1 else x, geometry)
    batch, count, *rest, channels = dy.shape
    taps = [start for _, start in _tap_starts(window, geometry)]
    step, reach = geometry.strides[0], max(start[0] for start in taps) + 1
    most = max(1, _BLOCK // max(1, batch * prod(rest) * channels))
    rows = next(r for r in range(min(most, count), 0, -1) if count % r == 0)

    def add(index: Array, total: Array) -> Array:
        block = lax.dynamic_slice_in_dim(x, index * rows * step, (rows - 1) * step + reach, 1)
        slope = lax.dynamic_slice_in_dim(dy, index * rows, rows, 1)
        axes = tuple(range(slope.ndim - 1))
        products = [
            (_tap(block, start, (rows, *rest), geometry) * slope).sum(axes) for start in taps
        ]
        return total + jnp.stack(products)

    total = jnp.zeros((len(taps), channels), x.dtype)
    total = lax.fori_loop(0, count // rows, add, total)
    return total.reshape(*window, 1, channels)


def _padded(x: Array, geometry: Geometry) -> Array:
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.pads), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def _out(x: Array, window: tuple[int, ...], geometry: Geometry) -> tuple[int, ...]:
    """Spatial shape of the output of a padded input."""
    return tuple(
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(
            x.shape[1:-1], window, geometry.strides, geometry.dilation, strict=True
        )
    )


def _tap_starts(
    window: tuple[int, ...], geometry: Geometry
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Index and start of each tap."""
    indices = itertools.product(*(range(k) for k in window))
    return [
        (index, tuple(t * d for t, d in zip(index, geometry.dilation, strict=True)))
        for index in indices
    ]


def _tap(x: Array, start: tuple[int, ...], out: tuple[int, ...], geometry: Geometry) -> Array:
    """What one tap sees of a padded input."""
    stops = [a + (n - 1) * s + 1 for a, n, s in zip(start, out, geometry.strides, strict=True)]
    return lax.slice(
        x, (0, *start, 0), (x.shape[0], *stops, x.shape[-1]), (1, *geometry.strides, 1)
    )
