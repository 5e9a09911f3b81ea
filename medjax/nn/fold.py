"""Convolutions of many dimensions as convolutions of few.

A leading dimension is folded away by putting its kernel taps, shifted, side by side into the
channels, and its positions into the batch. A strided input gradient (transposed convolution) is
one stride-1 convolution for each phase of the output, with the taps that fall on that phase only:
no zeros are multiplied. Shapes are `[batch, *space, channel]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.nn.geometry import Geometry

_SPACE = "UVWXYZ"


def stock(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's own convolution."""
    space = _SPACE[: x.ndim - 2]
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def forward(x: Array, kernel: Array, geometry: Geometry, into: int) -> Array:
    """Convolve, folding all but the last `into` spatial dimensions away."""
    n = x.ndim - 2
    if n <= into:
        return stock(x, kernel, geometry)
    (count,) = geometry.first(1).out_space(x.shape[1:2], kernel.shape[:1])
    taps = [t * geometry.dilation[0] - geometry.pads[0][0] for t in range(kernel.shape[0])]
    columns = _columns(x, taps, geometry.strides[0], count, geometry.groups)
    y = forward(_merged(columns), _channelled(kernel), geometry.rest(), into)
    return y.reshape(x.shape[0], count, *y.shape[1:])


def input_gradient(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    """Gradient of `forward` by its input, of spatial shape `space`, as 2-D convolutions."""
    turned = _turned(kernel, geometry.groups)
    return _upsampled(dy, turned, geometry, space)


@dataclass(frozen=True)
class _Phase:
    """One residue of an output dimension: which taps reach it, and from where."""

    taps: tuple[int, ...]
    offsets: tuple[int, ...]
    count: int


def _phases(size: int, window: int, stride: int, low: int, dilation: int) -> list[_Phase]:
    """Output `stride * m + r` gathers `offset + m` of the input through each tap.

    Offsets ascend, by the same step throughout.
    """
    phases = []
    for r in range(stride):
        taps = [t for t in reversed(range(window)) if (r + low - t * dilation) % stride == 0]
        offsets = [(r + low - t * dilation) // stride for t in taps]
        phases.append(_Phase(tuple(taps), tuple(offsets), max(0, -(-(size - r) // stride))))
    return phases


def _upsampled(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    n = dy.ndim - 2
    features = kernel.shape[-1]
    phases = _phases(
        space[0], kernel.shape[0], geometry.strides[0], geometry.pads[0][0], geometry.dilation[0]
    )
    parts = []
    for phase in phases:
        if not phase.taps or not phase.count:
            shape = (dy.shape[0], phase.count, *space[1:], features)
            parts.append(jnp.zeros(shape, dy.dtype))
        elif n > 2:
            chosen = kernel[jnp.array(phase.taps)]
            columns = _columns(dy, phase.offsets, 1, phase.count, geometry.groups)
            y = _upsampled(_merged(columns), _channelled(chosen), geometry.rest(), space[1:])
            parts.append(y.reshape(dy.shape[0], phase.count, *y.shape[1:]))
        else:
            parts.append(_planar(dy, kernel, geometry, space, phase))
    return _interleaved(parts, space[0], axis=1)


def _planar(
    dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...], row: _Phase
) -> Array:
    """One row phase of a 1-D or 2-D input gradient: a stride-1 convolution a column phase."""
    if dy.ndim == 3:
        return _stride_one(dy, kernel, geometry, (row,))
    columns = _phases(
        space[1], kernel.shape[1], geometry.strides[1], geometry.pads[1][0], geometry.dilation[1]
    )
    parts = [
        _stride_one(dy, kernel, geometry, (row, column))
        if column.taps and column.count
        else jnp.zeros((dy.shape[0], row.count, column.count, kernel.shape[-1]), dy.dtype)
        for column in columns
    ]
    return _interleaved(parts, space[1], axis=2)


def _stride_one(dy: Array, kernel: Array, geometry: Geometry, phases: tuple[_Phase, ...]) -> Array:
    for axis, phase in enumerate(phases):
        kernel = jnp.take(kernel, jnp.array(phase.taps), axis)
    pads = tuple(
        (-p.offsets[0], p.count - 1 + p.offsets[-1] - (size - 1))
        for p, size in zip(phases, dy.shape[1:-1], strict=True)
    )
    steps = [d // gcd(d, s) for d, s in zip(geometry.dilation, geometry.strides, strict=True)]
    ones = (1,) * len(phases)
    plain = replace(geometry, strides=ones, pads=pads, dilation=tuple(steps))
    return stock(dy, kernel, plain)


def _interleaved(parts: list[Array], size: int, axis: int) -> Array:
    """Merge phases of one dimension: part `r` holds positions `r`, `r + stride`, …"""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.shape[axis] for part in parts)
    padded = []
    for part in parts:
        lack = [(0, 0)] * part.ndim
        lack[axis] = (0, longest - part.shape[axis])
        padded.append(jnp.pad(part, lack))
    y = jnp.stack(padded, axis + 1)
    y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, size, axis=axis)


def _columns(x: Array, starts: Sequence[int], stride: int, count: int, groups: int) -> Array:
    """Strided slices of dimension 1 from each start, zeros outside, side by side in each group."""
    last = (count - 1) * stride
    low = max(0, -min(starts))
    high = max(0, max(starts) + last + 1 - x.shape[1])
    x = jnp.pad(x, [(0, 0), (low, high), *[(0, 0)] * (x.ndim - 2)])
    x = x.reshape(*x.shape[:-1], groups, -1)
    parts = [lax.slice_in_dim(x, low + s, low + s + last + 1, stride, axis=1) for s in starts]
    y = jnp.concatenate(parts, -1)
    return y.reshape(*y.shape[:-2], -1)


def _merged(x: Array) -> Array:
    """Dimension 1 into the batch."""
    return x.reshape(-1, *x.shape[2:])


def _channelled(kernel: Array) -> Array:
    """The kernel's first window dimension into its input channels."""
    kernel = jnp.moveaxis(kernel, 0, -3)
    return kernel.reshape(*kernel.shape[:-3], -1, kernel.shape[-1])


def _turned(kernel: Array, groups: int) -> Array:
    """Swap input and output channels within each group."""
    *window, inputs, features = kernel.shape
    split = kernel.reshape(*window, inputs, groups, features // groups)
    return jnp.swapaxes(split, -1, -3).reshape(*window, features // groups, groups * inputs)
