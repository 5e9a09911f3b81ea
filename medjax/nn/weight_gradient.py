"""The weight gradient of a convolution as matrix products over blocks that stay in the cache.

XLA writes it as a convolution whose window is the whole image, which its CPU kernels run at a
tenth of their speed. Here a `lax.scan` walks over blocks of positions; in each, shifted copies of
the input and of the output's gradient stand side by side and one matrix product adds all pairs.

A kernel dimension's shifts go to either side: to the input ("input side": one strided slice a
tap), or to the output's gradient, where the input supplies the phases of the stride. The side
with few channels is cheap to copy, and two sides of like width make the fastest product.
"""

import itertools
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

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
        outputs: how far the output's gradient is shifted, each.
        stride: of the input's slices.
        positions: number of positions.
        window: number of taps.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: int
    positions: int
    window: int

    def chosen(self, dkernel: Array, axis: int) -> Array:
        """Merge `[inputs, outputs]` at `axis` into taps."""
        if len(self.outputs) == 1:
            return jnp.squeeze(dkernel, axis + 1)
        taps = jnp.swapaxes(dkernel, axis, axis + 1)
        taps = taps.reshape(*taps.shape[:axis], -1, *taps.shape[axis + 2 :])
        return lax.slice_in_dim(taps, 0, self.window, axis=axis)


def _axis(count: int, window: int, stride: int, dilation: int, shift_output: bool) -> _Axis:
    if not shift_output:
        return _Axis(tuple(t * dilation for t in range(window)), (0,), stride, count, window)
    phases = min(stride, window)
    shifts = tuple(q * dilation for q in range(-(-window // stride)))
    return _Axis(tuple(range(phases)), shifts, stride, count + shifts[-1], window)


def _plan(
    geometry: Geometry, window: tuple[int, ...], out: tuple[int, ...], channels: int, features: int
) -> list[_Axis]:
    """The cheapest choice of sides.

    Cost in nanoseconds a position and core, fitted to Eigen's products (60 GFLOP/s at 96 columns
    in the narrower matrix, 95 at very many) and to copies (2.5e9 numbers/s) on a Xeon with AVX-512.
    """

    def cost(axes: list[_Axis]) -> float:
        rows = channels * prod(len(a.inputs) for a in axes)
        columns = features * prod(len(a.outputs) for a in axes)
        narrow = min(rows, columns)
        product = 2 * rows * columns / (95 * narrow / (narrow + 50))
        return (product + 0.4 * (rows + columns)) * prod(a.positions for a in axes)

    may_shift = [
        [False, True] if stride == 1 or dilation == 1 else [False]
        for stride, dilation in zip(geometry.strides, geometry.dilation, strict=True)
    ]
    plans = [
        [
            _axis(*dims)
            for dims in zip(out, window, geometry.strides, geometry.dilation, sides, strict=True)
        ]
        for sides in itertools.product(*may_shift)
    ]
    return min(plans, key=cost)


def _blocks(axes: list[_Axis], per_position: int) -> tuple[int, ...]:
    """Positions of a block along each dimension: trailing dimensions whole, while they fit."""
    room = max(1, _BLOCK_BYTES // (4 * per_position))
    sizes = []
    for axis in reversed(axes):
        count = -(-axis.positions // min(axis.positions, max(1, room)))
        sizes.append(-(-axis.positions // count))
        room //= sizes[-1]
    return tuple(reversed(sizes))


def _dense(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    batch, channels, features = x.shape[0], x.shape[-1], dy.shape[-1]
    axes = _plan(geometry, window, dy.shape[1:-1], channels, features)
    rows = channels * prod(len(a.inputs) for a in axes)
    columns = features * prod(len(a.outputs) for a in axes)
    blocks = _blocks(axes, batch * (rows + columns))
    counts = tuple(-(-a.positions // b) for a, b in zip(axes, blocks, strict=True))
    x = _fitted(
        x,
        [
            (-low, (b * c - 1) * a.stride + a.inputs[-1] + 1)
            for a, b, c, (low, _) in zip(axes, blocks, counts, geometry.pads, strict=True)
        ],
    )
    dy = _fitted(
        dy,
        [
            (-a.outputs[-1], b * c + a.outputs[-1])
            for a, b, c in zip(axes, blocks, counts, strict=True)
        ],
    )
    x_block = [(b - 1) * a.stride + a.inputs[-1] + 1 for a, b in zip(axes, blocks, strict=True)]
    dy_block = [b + a.outputs[-1] for a, b in zip(axes, blocks, strict=True)]

    def add(total: Array, index: Array) -> tuple[Array, None]:
        at = jnp.unravel_index(index, counts)
        starts = [i * b for i, b in zip(at, blocks, strict=True)]
        x_starts = [s * a.stride for s, a in zip(starts, axes, strict=True)]
        xb = lax.dynamic_slice(x, [0, *x_starts, 0], [batch, *x_block, channels])
        yb = lax.dynamic_slice(dy, [0, *starts, 0], [batch, *dy_block, features])
        left = _side_by_side(xb, [a.inputs for a in axes], [a.stride for a in axes], blocks)
        back = [tuple(a.outputs[-1] - q for q in a.outputs) for a in axes]
        right = _side_by_side(yb, back, [1] * len(axes), blocks)
        return total + jnp.dot(left.T, right), None

    zero = jnp.zeros((rows, columns), x.dtype)
    total, _ = lax.scan(add, zero, jnp.arange(prod(counts)))
    return _as_kernel(total, axes, channels, features)


def _fitted(a: Array, spans: list[tuple[int, int]]) -> Array:
    """Cut `[start, stop)` out of each spatial dimension, with zeros where there is nothing."""
    config = [
        (0, 0, 0),
        *(
            (-start, stop - size, 0)
            for (start, stop), size in zip(spans, a.shape[1:-1], strict=True)
        ),
        (0, 0, 0),
    ]
    return lax.pad(a, jnp.zeros((), a.dtype), config)


def _side_by_side(
    a: Array, starts: list[tuple[int, ...]], strides: list[int], sizes: tuple[int, ...]
) -> Array:
    """Every combination of shifts side by side in the channels, positions as rows."""
    parts = []
    for corner in itertools.product(*starts):
        stops = [c + (n - 1) * s + 1 for c, n, s in zip(corner, sizes, strides, strict=True)]
        ends = (a.shape[0], *stops, a.shape[-1])
        parts.append(lax.slice(a, (0, *corner, 0), ends, (1, *strides, 1)))
    together = jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]
    return together.reshape(-1, together.shape[-1])


def _as_kernel(total: Array, axes: list[_Axis], channels: int, features: int) -> Array:
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
