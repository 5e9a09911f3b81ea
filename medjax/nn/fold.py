"""Convolutions of many dimensions as convolutions of few.

A leading dimension is folded away by putting its kernel taps, shifted, side by side into the
channels, and its positions into the batch. A strided input gradient (transposed convolution) is
one stride-1 convolution for each phase of the output, with the taps that fall on that phase only:
no zeros are multiplied. Shapes are `[batch, *space, channel]`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.nn import depthwise
from medjax.nn.filled import filled
from medjax.nn.geometry import Geometry
from medjax.nn.widened import neighbours, widened

_SPACE = "UVWXYZ"


def stock(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's own convolution."""
    space = _SPACE[: x.ndim - 2]
    if any(p < 0 for pair in geometry.pads for p in pair):
        # From negative padding XLA's CPU kernels compute wrong numbers (openxla/xla issue 48713).
        pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.pads), (0, 0, 0)]
        x = lax.pad(x, jnp.zeros((), x.dtype), pads)
        geometry = replace(geometry, pads=((0, 0),) * len(space))
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
    if into == 2 and depthwise.is_depthwise(x.shape[-1], geometry):
        return depthwise.forward(x, kernel, geometry)
    if n <= into:
        return _narrow(x, kernel, geometry) if into == 2 else stock(x, kernel, geometry)
    (count,) = geometry.first(1).out_space(x.shape[1:2], kernel.shape[:1])
    starts = [t * geometry.dilation[0] - geometry.pads[0][0] for t in range(kernel.shape[0])]

    def within(x: Array, kernel: Array) -> Array:
        return forward(x, kernel, geometry.rest(), into)

    walk = _Walk(tuple(starts), geometry.strides[0], count)
    return _folded(x, kernel, walk, geometry.groups, within)


def _narrow(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's, with channels filled up, and neighbouring outputs found at once where they are few."""
    out = geometry.out_space(x.shape[1:-1], kernel.shape[:-2])
    features = kernel.shape[-1]
    count = neighbours(x.shape[-1], features, out[-1], geometry)
    if count > 1:
        kernel, geometry = widened(kernel, count, geometry)
    found = kernel.shape[-1]
    if geometry.groups == 1:
        x, kernel = filled(x, kernel)
    y = stock(x, kernel, geometry)[..., :found]
    return y.reshape(x.shape[0], *out, features)


def input_gradient(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    """Gradient of `forward` by its input, of spatial shape `space`, as 2-D convolutions."""
    return _upsampled(dy, _turned(kernel, geometry.groups), geometry, space)


@dataclass(frozen=True)
class _Walk:
    """Position `m` of `count` gathers the input at `start + stride * m`, one start a tap."""

    starts: tuple[int, ...]
    stride: int
    count: int


def _folded(
    x: Array, kernel: Array, walk: _Walk, groups: int, within: Callable[[Array, Array], Array]
) -> Array:
    """Convolve along dimension 1 by convolving `within` the rest.

    Measured on 3-D: with less than half as many features as channels, adding up one convolution a
    tap is twice as fast as copying the taps' inputs side by side; a single feature wants all taps
    in one convolution, as features (10 times faster).
    """
    channels, features = x.shape[-1], kernel.shape[-1]
    if walk.stride == 1 and groups == 1 and features <= 4 < channels:
        together = jnp.moveaxis(kernel, 0, -1)
        z = _split(within(_merged(x), together.reshape(*together.shape[:-2], -1)), x.shape[0])
        z = z.reshape(*z.shape[:-1], features, -1)
        return _added([z[..., t] for t in range(len(walk.starts))], walk)
    if walk.stride == 1 and features < channels:
        merged = _merged(x)
        return _added([_split(within(merged, k), x.shape[0]) for k in kernel], walk)
    columns = _columns(x, walk, groups)
    return _split(within(_merged(columns), _channelled(kernel)), x.shape[0])


def _added(parts: list[Array], walk: _Walk) -> Array:
    """Sum of the parts, each from its own start on."""
    zero = jnp.zeros((), parts[0].dtype)
    rest = [(0, 0, 0)] * (parts[0].ndim - 2)
    size = parts[0].shape[1]
    return sum(
        lax.pad(part, zero, [(0, 0, 0), (-start, walk.count + start - size, 0), *rest])
        for part, start in zip(parts, walk.starts, strict=True)
    )  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class _Phase:
    """One residue of an output dimension: which taps reach it, and from where.

    Taps are a slice of the window, last first, so that the offsets ascend, in equal steps.
    """

    taps: slice
    offsets: tuple[int, ...]
    count: int


def _phases(size: int, window: int, stride: int, low: int, dilation: int) -> list[_Phase]:
    """Output `stride * m + r` gathers `offset + m` of the input through each tap."""
    step = stride // gcd(dilation, stride)
    phases = []
    for r in range(stride):
        taps = [t for t in range(window) if (r + low - t * dilation) % stride == 0][::-1]
        offsets = tuple((r + low - t * dilation) // stride for t in taps)
        kept = slice(taps[-1], taps[0] + 1, step) if taps else slice(0)
        phases.append(_Phase(kept, offsets, max(0, -(-(size - r) // stride))))
    return phases


def _chosen(kernel: Array, phase: _Phase, axis: int) -> Array:
    """The phase's taps, last first."""
    taps = phase.taps
    return lax.rev(lax.slice_in_dim(kernel, taps.start, taps.stop, taps.step, axis), (axis,))


def _upsampled(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    phases = _phases(
        space[0], kernel.shape[0], geometry.strides[0], geometry.pads[0][0], geometry.dilation[0]
    )

    def within(dy: Array, kernel: Array) -> Array:
        return _upsampled(dy, kernel, geometry.rest(), space[1:])

    parts = []
    for phase in phases:
        if not phase.offsets or not phase.count:
            shape = (dy.shape[0], phase.count, *space[1:], kernel.shape[-1])
            parts.append(jnp.zeros(shape, dy.dtype))
        elif dy.ndim > 4:
            walk = _Walk(phase.offsets, 1, phase.count)
            parts.append(_folded(dy, _chosen(kernel, phase, 0), walk, geometry.groups, within))
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
        if column.offsets and column.count
        else jnp.zeros((dy.shape[0], row.count, column.count, kernel.shape[-1]), dy.dtype)
        for column in columns
    ]
    return _interleaved(parts, space[1], axis=2)


def _stride_one(dy: Array, kernel: Array, geometry: Geometry, phases: tuple[_Phase, ...]) -> Array:
    for axis, phase in enumerate(phases):
        kernel = _chosen(kernel, phase, axis)
    pads = tuple(
        (-p.offsets[0], p.count - 1 + p.offsets[-1] - (size - 1))
        for p, size in zip(phases, dy.shape[1:-1], strict=True)
    )
    steps = [d // gcd(d, s) for d, s in zip(geometry.dilation, geometry.strides, strict=True)]
    ones = (1,) * len(phases)
    plain = replace(geometry, strides=ones, pads=pads, dilation=tuple(steps))
    return forward(dy, kernel, plain, into=2)


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


def _columns(x: Array, walk: _Walk, groups: int) -> Array:
    """What each tap gathers along dimension 1, zeros outside, side by side in each group.

    Adding up parts that are padded into their places takes XLA's CPU code half of the time of a
    concatenation.
    """
    x = x.reshape(*x.shape[:-1], groups, -1)
    zero, width, taps = jnp.zeros((), x.dtype), x.shape[-1], len(walk.starts)
    last = (walk.count - 1) * walk.stride
    between = [(0, 0, 0)] * (x.ndim - 3)
    y = jnp.zeros((), x.dtype)
    for tap, start in enumerate(walk.starts):
        along = (-start, start + last + 1 - x.shape[1], 0)
        part = lax.pad(x, zero, [(0, 0, 0), along, *between, (0, 0, 0)])
        part = lax.slice_in_dim(part, 0, last + 1, walk.stride, axis=1)
        place = (tap * width, (taps - 1 - tap) * width, 0)
        y = y + lax.pad(part, zero, [(0, 0, 0), (0, 0, 0), *between, place])
    return y.reshape(*y.shape[:-2], -1)


def _split(x: Array, batch: int) -> Array:
    """Undo `_merged`."""
    return x.reshape(batch, -1, *x.shape[1:])


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
