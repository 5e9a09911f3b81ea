"""The weight gradient of a convolution as matrix products over blocks that stay in the cache.

XLA writes it as a convolution whose window is the whole image, which its CPU kernels run slowly
where the image is large or channels are many (weight_convolution.py says when they do not). Here
a `lax.scan` walks over blocks of positions; in each, shifted copies of the input and of the
output's gradient stand side by side and one matrix product adds all pairs.

A kernel dimension's shifts go to either side: to the input ("input side": one strided slice a
tap), or to the output's gradient, where the input supplies the phases of the stride. The side
with few channels is cheap to copy, and two sides of like width make the fastest product.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.nn import depthwise
from medjax.nn.geometry import Geometry

# Both sides of a block: a core's second-level cache.
_BLOCK_BYTES = 2**21


def blocked_weight_gradient(
    x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]
) -> Array:
    """Gradient by the kernel, `[*window, channel // groups, features]`.

    Args:
        x: input, `[batch, *space, channel]`.
        dy: gradient of the output, `[batch, *out, features]`.
        geometry: of the convolution.
        window: the kernel's spatial shape.
    """
    groups = geometry.groups
    if groups == 1:
        return _dense(x, dy, geometry, window)
    if depthwise.is_depthwise(x.shape[-1], geometry):
        return depthwise.weight_gradient(x, dy, geometry, window)
    split_x = x.reshape(*x.shape[:-1], groups, -1)
    split_dy = dy.reshape(*dy.shape[:-1], groups, -1)
    over_groups = jax.vmap(lambda a, b: _dense(a, b, geometry, window), (-2, -2), -2)
    dkernel = over_groups(split_x, split_dy)
    return dkernel.reshape(*window, x.shape[-1] // groups, dy.shape[-1])


@dataclass(frozen=True)
class _Axis:
    """How one spatial dimension is walked.

    Attributes:
        inputs: starts of the input's slices in a block.
        outputs: starts of the gradient's slices in a block.
        stride: of the input's slices.
        positions: number of positions.
        window: number of taps.
        first: where the walk begins, in the input and in the gradient; outside them is zero.
        pads: whether the input, and the gradient, is walked beyond its ends.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: int
    positions: int
    window: int
    first: tuple[int, int]
    pads: tuple[bool, bool]

    def chosen(self, dkernel: Array, axis: int) -> Array:
        """Merge `[inputs, outputs]` at `axis` into taps."""
        if len(self.outputs) == 1:
            return jnp.squeeze(dkernel, axis + 1)
        taps = jnp.swapaxes(dkernel, axis, axis + 1)
        taps = taps.reshape(*taps.shape[:axis], -1, *taps.shape[axis + 2 :])
        return lax.slice_in_dim(taps, 0, self.window, axis=axis)


def _axes(
    size: int, count: int, window: int, stride: int, low: int, dilation: int
) -> Iterator[_Axis]:
    """The ways to walk one dimension: `count` outputs of an input of this size."""
    taps = tuple(t * dilation for t in range(window))
    last = taps[-1] + (count - 1) * stride
    beyond = low > 0 or last >= size + low
    yield _Axis(taps, (0,), stride, count, window, (-low, 0), (beyond, False))
    if window == 1:
        return
    if stride == 1:
        yield _Axis((0,), taps[::-1], 1, size, window, (0, low - taps[-1]), (False, True))
    elif dilation == 1:
        shifts = -(-window // stride)
        phases = tuple(range(min(stride, window)))
        starts = tuple(range(shifts))[::-1]
        positions = count + shifts - 1
        yield _Axis(phases, starts, stride, positions, window, (-low, 1 - shifts), (True, True))


def _plan(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> tuple[_Axis, ...]:
    """The cheapest choice of sides.

    Cost in nanoseconds and core, fitted to Eigen's products (60 GFLOP/s at 96 columns in the
    narrower matrix, 95 at very many) and to copies (2.5e9 numbers/s in the cache, 1e9 padding
    a whole array, 3e8 where XLA writes a few narrow parts number by number) on a Xeon with
    AVX-512.
    """
    channels, features = x.shape[-1], dy.shape[-1]

    def pace(width: int, part: int) -> float:
        return 3.0 if 1 < width // part <= 4 and 1 < part <= 32 else 0.4

    def cost(axes: tuple[_Axis, ...]) -> float:
        rows, columns = _widths(axes, channels, features)
        narrow = min(rows, columns)
        product = 2 * rows * columns / (95 * narrow / (narrow + 50))
        copies = rows * pace(rows, channels) + columns * pace(columns, features)
        walked = (product + copies) * prod(a.positions for a in axes)
        padded = (x.size * any(a.pads[0] for a in axes), dy.size * any(a.pads[1] for a in axes))
        return x.shape[0] * walked + sum(padded)

    options = zip(
        x.shape[1:-1],
        dy.shape[1:-1],
        window,
        geometry.strides,
        (low for low, _ in geometry.pads),
        geometry.dilation,
        strict=True,
    )
    return min(itertools.product(*(_axes(*each) for each in options)), key=cost)


def _widths(axes: Sequence[_Axis], channels: int, features: int) -> tuple[int, int]:
    """Channels of each side when its shifts stand side by side."""
    return channels * prod(len(a.inputs) for a in axes), features * prod(
        len(a.outputs) for a in axes
    )


def _blocks(axes: Sequence[_Axis], per_position: int) -> tuple[int, ...]:
    """Positions of a block along each dimension: trailing dimensions whole, while they fit."""
    room = max(1, _BLOCK_BYTES // (4 * per_position))
    sizes = []
    for axis in reversed(axes):
        most = min(axis.positions, room)
        # A divisor leaves no ragged end, for which the arrays would have to be padded.
        even = next(b for b in range(most, 0, -1) if axis.positions % b == 0)
        whole = -(-axis.positions // most)
        sizes.append(even if 2 * even > most else -(-axis.positions // whole))
        room = max(1, room // sizes[-1])
    return tuple(reversed(sizes))


def _dense(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    batch, channels, features = x.shape[0], x.shape[-1], dy.shape[-1]
    axes = _plan(x, dy, geometry, window)
    widths = _widths(axes, channels, features)
    blocks = _blocks(axes, batch * sum(widths))
    counts = tuple(-(-a.positions // b) for a, b in zip(axes, blocks, strict=True))
    x_block = [(b - 1) * a.stride + a.inputs[-1] + 1 for a, b in zip(axes, blocks, strict=True)]
    dy_block = [b + max(a.outputs) for a, b in zip(axes, blocks, strict=True)]
    walk = list(zip(axes, blocks, counts, strict=True))
    x = fitted(
        x,
        [a.first[0] for a in axes],
        [(c - 1) * b * a.stride + size for (a, b, c), size in zip(walk, x_block, strict=True)],
    )
    dy = fitted(
        dy,
        [a.first[1] for a in axes],
        [(c - 1) * b + size for (_, b, c), size in zip(walk, dy_block, strict=True)],
    )

    def add(total: Array, index: Array) -> tuple[Array, None]:
        at = jnp.unravel_index(index, counts)
        starts = [i * b for i, b in zip(at, blocks, strict=True)]
        x_starts = [s * a.stride for s, a in zip(starts, axes, strict=True)]
        xb = lax.dynamic_slice(x, [0, *x_starts, 0], [batch, *x_block, channels])
        yb = lax.dynamic_slice(dy, [0, *starts, 0], [batch, *dy_block, features])
        left = _side_by_side(xb, [a.inputs for a in axes], [a.stride for a in axes], blocks)
        right = _side_by_side(yb, [a.outputs for a in axes], [1] * len(axes), blocks)
        if features == 1:
            return total + jnp.dot(right.T, left).T, None
        return total + jnp.dot(left.T, right), None

    total, _ = lax.scan(add, jnp.zeros(widths, x.dtype), jnp.arange(prod(counts)))
    return _as_kernel(total, axes, channels, features)


def fitted(a: Array, starts: Sequence[int], sizes: Sequence[int]) -> Array:
    """Cut each spatial dimension from its start on, with zeros where there is nothing."""
    config = [
        (-start, size + start - extent, 0)
        for start, size, extent in zip(starts, sizes, a.shape[1:-1], strict=True)
    ]
    return lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0), *config, (0, 0, 0)])


def _side_by_side(
    a: Array, starts: list[tuple[int, ...]], strides: list[int], sizes: tuple[int, ...]
) -> Array:
    """Every combination of shifts side by side in the channels, positions as rows."""
    parts = []
    for corner in itertools.product(*starts):
        stops = [c + (n - 1) * s + 1 for c, n, s in zip(corner, sizes, strides, strict=True)]
        ends = (a.shape[0], *stops, a.shape[-1])
        parts.append(lax.slice(a, (0, *corner, 0), ends, (1, *strides, 1)))
    if a.shape[-1] == 1:
        # Single channels are copied, and multiplied, faster as rows.
        return jnp.stack(parts).reshape(len(parts), -1).T
    together = jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]
    return together.reshape(-1, together.shape[-1])


def _as_kernel(total: Array, axes: Sequence[_Axis], channels: int, features: int) -> Array:
    """`[inputs…, channel, outputs…, feature]` to `[*window, channel, feature]`."""
    n = len(axes)
    total = total.reshape(
        *(len(a.inputs) for a in axes), channels, *(len(a.outputs) for a in axes), features
    )
    order = [i for k in range(n) for i in (k, n + 1 + k)]
    total = total.transpose(*order, n, 2 * n + 1)
    for k, axis in enumerate(axes):
        total = axis.chosen(total, k)
    return total
