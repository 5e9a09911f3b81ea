"""The weight gradient of a convolution as one itself, whose window is the gradient of the output.

Batch and channels change places: the input's channels are the batch, and the batch is summed over
as channels are. Of three dimensions it is one of two for each tap of the leading one. What slides
is copied for each tap and multiplied with all of the window's features: where the output has few,
the input is taken for the window and the gradient of the output slides. In bands of rows, which
stay in the cache, 32 channels of 4 x 256² take 32 instead of 85 ms on one core of an EPYC, but
XLA's loops run such convolutions on one: with two cores 32 instead of 36 to 38, so it is not done.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import jax.numpy as jnp
from jax import ShapeDtypeStruct, lax
from jaxtyping import Array

from medjax.nn.filled import filled
from medjax.nn.geometry import Geometry
from medjax.nn.weight_gradient import fitted

_SPACE = "UV"
# Where it is taken: fewer numbers in both arrays, at most so many channels on either side, of two
# and of three dimensions. Chosen by whole training steps on idle cores of a Xeon with AVX-512 (jax
# 0.10.1), against `weight_gradient`'s products everywhere: RED-CNN takes 0.6 of the time, the
# quickstart and small U-Nets 0.9 to 0.95, DDANet's twin, CNN10 and the plain CNN the same; twice
# the numbers gain nothing more, in a 3-D U-Net of 2 x 48³ they cost 5 %. With few features, or one
# image of 16 channels, a layer takes 1 to 5 times as long; a window of one tap takes 1.3 to 3.
_MOST = 2**22
_WIDEST, _WIDEST_OF_VOLUMES, _FEWEST_FEATURES, _FEWEST_CHANNELS_OF_ONE = 128, 16, 8, 32
# On two cores of an AMD EPYC with AVX-512, layers of the `cpu` settings: exchanged, 12 to 32
# channels to one feature take 0.2 to 0.5 of the time of `weight_gradient`'s products, 12 to 6 0.8,
# and in 3-D 16 to 8 0.7 of the time that they take unexchanged. More channels to half as many
# features or fewer are the products' (18 to 72 to 6 to 24, 32 to 16: 0.4 to 0.8 of the time), which
# use all cores, where XLA's convolutions of 32 features and more use one.
_MANY, _EXCHANGED_CHANNELS, _EXCHANGED_FEATURES = 32, 16, 2


def faster_on_cpu(
    x: Array | ShapeDtypeStruct,
    dy: Array | ShapeDtypeStruct,
    geometry: Geometry,
    window: tuple[int, ...],
) -> bool:
    """Whether it is taken there instead of `weight_gradient.blocked_weight_gradient`."""
    channels, features = x.shape[-1], dy.shape[-1]
    exchanged = exchange_pays(x, dy, geometry)
    images = x.shape[0] * (dy.shape[1] if dy.ndim == 5 else 1)
    return (
        geometry.groups == 1
        and x.ndim <= 5
        and prod(window) > 1
        and x.size + dy.size < _MOST
        and max(channels, features) <= (_WIDEST_OF_VOLUMES if x.ndim == 5 else _WIDEST)
        and (channels if exchanged else features) >= _FEWEST_FEATURES
        and (exchanged or x.ndim == 5 or not _few(channels, features))
        and (images > 1 or channels >= _FEWEST_CHANNELS_OF_ONE)
    )


def exchange_pays(
    x: Array | ShapeDtypeStruct, dy: Array | ShapeDtypeStruct, geometry: Geometry
) -> bool:
    """Whether what slides and the window are best exchanged."""
    channels, features = x.shape[-1], dy.shape[-1]
    narrow = channels <= _EXCHANGED_CHANNELS or features <= _EXCHANGED_FEATURES
    return set(geometry.strides) == {1} and narrow and _few(channels, features)


def _few(channels: int, features: int) -> bool:
    """Whether features are few beside channels."""
    return features < _MANY and channels >= 2 * features


def convolved_weight_gradient(
    x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]
) -> Array:
    """As `weight_gradient.blocked_weight_gradient`, without groups."""
    if len(window) <= 2:
        way = _exchanged if exchange_pays(x, dy, geometry) else _whole
        return way(x, dy, geometry, window)
    return by_taps(x, dy, geometry, window, convolved_weight_gradient)


def by_taps(
    x: Array,
    dy: Array,
    geometry: Geometry,
    window: tuple[int, ...],
    within: Callable[[Array, Array, Geometry, tuple[int, ...]], Array],
) -> Array:
    """One weight gradient `within` the other dimensions for each tap of the leading one."""
    stride, length = geometry.strides[0], (dy.shape[1] - 1) * geometry.strides[0] + 1
    rest = x.shape[2:-1]
    flat = dy.reshape(-1, *dy.shape[2:])
    taps = []
    for tap in range(window[0]):
        start = tap * geometry.dilation[0] - geometry.pads[0][0]
        seen = fitted(x, [start, *(0 for _ in rest)], [length, *rest])
        seen = lax.slice_in_dim(seen, 0, None, stride, axis=1).reshape(-1, *x.shape[2:])
        taps.append(within(seen, flat, geometry.rest(), window[1:]))
    return jnp.stack(taps)


def _exchanged(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    """The input as the window that slides over the gradient: the taps come last first."""
    lows = [
        (taps - 1) * dilation - low
        for taps, dilation, (low, _) in zip(window, geometry.dilation, geometry.pads, strict=True)
    ]
    turned = replace(geometry, pads=tuple((low, 0) for low in lows))
    dkernel = _whole(dy, x, turned, window)
    return jnp.swapaxes(lax.rev(dkernel, tuple(range(len(window)))), -1, -2)


def _whole(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    """In at most two dimensions."""
    space, size = _SPACE[: len(window)], x.shape[1:-1]
    lows = [low for low, _ in geometry.pads]
    seen = [
        (taps - 1) * dilation + (count - 1) * stride + 1
        for taps, dilation, count, stride in zip(
            window, geometry.dilation, dy.shape[1:-1], geometry.strides, strict=True
        )
    ]
    pads = [(low, n - low - whole) for low, n, whole in zip(lows, seen, size, strict=True)]
    reach = [
        (count - 1) * stride + 1
        for count, stride in zip(dy.shape[1:-1], geometry.strides, strict=True)
    ]
    negative = any(p < 0 for pair in pads for p in pair)
    if negative or any(n > whole for n, whole in zip(reach, size, strict=True)):
        # From negative padding XLA's CPU kernels compute wrong numbers (openxla/xla issue 48713); a
        # window larger than what it slides over takes them 15 to 130 times as long.
        x, pads = fitted(x, [-low for low in lows], seen), [(0, 0)] * len(size)
    # Channels as the batch, and the batch as channels. Written as dimension numbers it costs the
    # same, but 20 to 150 times as much in the body of a loop, where XLA's CPU code takes its plain
    # kernel for all but the usual order of dimensions.
    dkernel = lax.conv_general_dilated(
        *filled(jnp.swapaxes(x, 0, -1), jnp.moveaxis(dy, 0, -2)),
        geometry.dilation,
        pads,
        rhs_dilation=geometry.strides,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        precision=geometry.precision,
    )
    return jnp.moveaxis(dkernel[..., : dy.shape[-1]], 0, -2)
