"""The weight gradient of a convolution as one itself, whose window is the gradient of the output.

Batch and channels change places: the input's channels are the batch, and the batch is summed over
as channels are. Of three dimensions it is one of two for each tap of the leading one.
"""

import jax.numpy as jnp
from jax import ShapeDtypeStruct, lax
from jaxtyping import Array

from medjax.nn.geometry import Geometry

_SPACE = "UV"
# Numbers in both arrays up to which XLA's CPU kernels are ahead of `weight_gradient`'s products,
# and how many of them with many channels. Measured on 2 cores of a Xeon with AVX-512 (jax 0.10.1):
# 1.2 to 2.4 times as fast within (16 to 96 channels at 16² to 256², 8 to 64 at 12³ to 48³), a
# quarter to two thirds as fast beyond, with one feature, or with one image of 16 channels.
_MOST, _MOST_WIDE = 2**23, 2**22
_WIDE, _FEWEST_FEATURES, _FEWEST_CHANNELS_OF_ONE = 96, 8, 32


def faster_on_cpu(
    x: Array | ShapeDtypeStruct, dy: Array | ShapeDtypeStruct, geometry: Geometry
) -> bool:
    """Whether this is faster there than `weight_gradient.blocked_weight_gradient`."""
    channels, features, numbers = x.shape[-1], dy.shape[-1], x.size + dy.size
    images = x.shape[0] * (dy.shape[1] if dy.ndim == 5 else 1)
    return (
        geometry.groups == 1
        and x.ndim <= 5
        and numbers <= (_MOST_WIDE if max(channels, features) > _WIDE else _MOST)
        and features >= _FEWEST_FEATURES
        and (images > 1 or channels >= _FEWEST_CHANNELS_OF_ONE)
    )


def convolved_weight_gradient(
    x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]
) -> Array:
    """Gradient by the kernel, `[*window, channel, features]`, of a convolution without groups.

    Args:
        x: input, `[batch, *space, channel]`.
        dy: gradient of the output, `[batch, *out, features]`.
        geometry: of the convolution.
        window: the kernel's spatial shape.
    """
    if len(window) <= 2:
        return _whole(x, dy, geometry, window)
    (low, _), dilation, stride = geometry.pads[0], geometry.dilation[0], geometry.strides[0]
    count = dy.shape[1]
    flat = dy.reshape(-1, *dy.shape[2:])
    taps = []
    for tap in range(window[0]):
        start = tap * dilation - low
        seen = _cut(x, 1, start, start + (count - 1) * stride + 1)
        seen = lax.slice_in_dim(seen, 0, None, stride, axis=1).reshape(-1, *x.shape[2:])
        taps.append(convolved_weight_gradient(seen, flat, geometry.rest(), window[1:]))
    return jnp.stack(taps)


def _whole(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    """In at most two dimensions."""
    space = _SPACE[: len(window)]
    pads = []
    for axis, (low, _) in enumerate(geometry.pads):
        taps = (window[axis] - 1) * geometry.dilation[axis]
        stop = taps + (dy.shape[axis + 1] - 1) * geometry.strides[axis] + 1 - low
        size = x.shape[axis + 1]
        if low < 0 or stop < size:
            # From negative padding XLA's CPU kernels compute wrong numbers (openxla/xla 48713).
            x, pad = _cut(x, axis + 1, -low, stop), (0, 0)
        else:
            pad = (low, stop - size)
        pads.append(pad)
    return lax.conv_general_dilated(
        x,
        dy,
        geometry.dilation,
        pads,
        rhs_dilation=geometry.strides,
        dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
        precision=geometry.precision,
    )


def _cut(x: Array, axis: int, start: int, stop: int) -> Array:
    """From `start` to `stop` along an axis, with zeros where there is nothing."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-start, stop - x.shape[axis], 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)
