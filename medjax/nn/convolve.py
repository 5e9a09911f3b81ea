"""Convolution and transposed convolution as functions, 1 to 4 spatial dimensions, channels last."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax.typing import PrecisionLike
from jax import lax
from jaxtyping import Array, Float

from medjax.nn.geometry import (
    Geometry,
    PaddingLike,
    explicit_padding,
    pad_mode,
    per_dimension,
    transposed_padding,
)
from medjax.nn.lowering import forward, input_gradient


def conv(
    x: Float[Array, "batch *space channel"],
    kernel: Float[Array, "*window channel_in features"],
    strides: int | Sequence[int] | None = 1,
    padding: PaddingLike = "SAME",
    dilation: int | Sequence[int] | None = 1,
    groups: int = 1,
    precision: PrecisionLike = None,
) -> Float[Array, "batch *out features"]:
    """Cross-correlate `x` with `kernel`, as `lax.conv_general_dilated` does channels-last.

    Args:
        x: `[batch, *space, channel]`, 1 to 4 spatial dimensions.
        kernel: `[*window, channel // groups, features]`, of the same dtype.
        strides: window strides.
        padding: `"SAME"`, `"VALID"`, `"CAUSAL"` (1-D), an int, or one int or `(low, high)` a
            dimension, all with zeros; `"REFLECT"`, `"EDGE"` and `"CIRCULAR"` pad by the
            dilated kernel size less one and so keep the size at stride 1.
        dilation: of the kernel.
        groups: number of groups into which input channels and features are split.
        precision: as in `lax.conv_general_dilated`; CPU computes in float32 regardless.

    Raises:
        ValueError: shapes, groups and padding do not go together.
    """
    n = x.ndim - 2
    window = kernel.shape[:n]
    steps, rate = per_dimension(strides, n), per_dimension(dilation, n)
    mode = pad_mode(padding)
    if mode is not None:
        x = jnp.pad(x, _same_at_stride_one(window, rate), mode=mode)  # pyright: ignore
        padding = "VALID"
    pads = explicit_padding(padding, x.shape[1:-1], window, steps, rate)
    geometry = Geometry(steps, pads, rate, groups, precision)
    geometry.check(x.shape, kernel.shape)
    out = geometry.out_space(x.shape[1:-1], window)
    if 0 in (x.shape[0], *out):
        return jnp.zeros((x.shape[0], *out, kernel.shape[-1]), x.dtype)
    return forward(x, kernel, geometry)


def conv_transpose(
    x: Float[Array, "batch *space channel"],
    kernel: Float[Array, "*window channel features"],
    strides: int | Sequence[int] | None = 1,
    padding: PaddingLike = "SAME",
    dilation: int | Sequence[int] | None = 1,
    groups: int = 1,
    transpose_kernel: bool = False,
    precision: PrecisionLike = None,
) -> Float[Array, "batch *out features"]:
    """Fractionally strided convolution, as `lax.conv_transpose` does channels-last.

    Args:
        x: `[batch, *space, channel]`, 1 to 4 spatial dimensions.
        kernel: `[*window, channel // groups, features]`, or with `transpose_kernel`
            `[*window, features // groups, channel]` with its window flipped (Keras, PyTorch).
        strides: by how much each dimension grows.
        padding: `"SAME"`, `"VALID"`, an int, or one int or `(low, high)` a dimension; numbers
            pad the zero-interleaved input, as in `lax.conv_transpose`.
        dilation: of the kernel.
        groups: number of groups into which input channels and features are split.
        transpose_kernel: whether the kernel is that of the convolution being transposed.
        precision: as in `lax.conv_transpose`; CPU computes in float32 regardless.

    Raises:
        ValueError: shapes, groups and padding do not go together.
    """
    n = x.ndim - 2
    window = kernel.shape[:n]
    steps, rate = per_dimension(strides, n), per_dimension(dilation, n)
    pads = transposed_padding(padding, window, steps, rate)
    if not transpose_kernel:
        kernel = _flipped(kernel, groups)
    # A fractionally strided convolution is the input gradient of this strided one.
    extent = [(k - 1) * d for k, d in zip(window, rate, strict=True)]
    out = tuple(
        max(0, (s - 1) * t + 1 + sum(p) - e) if s else 0
        for s, t, p, e in zip(x.shape[1:-1], steps, pads, extent, strict=True)
    )
    strided = tuple((e - lo, e - hi) for e, (lo, hi) in zip(extent, pads, strict=True))
    geometry = Geometry(steps, strided, rate, groups, precision)
    shape = (x.shape[0], *out, kernel.shape[-2] * groups)
    geometry.check(shape, kernel.shape)
    if kernel.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"the kernel takes {kernel.shape[-1]} channels, the input has {x.shape[-1]}"
        )
    if 0 in (x.shape[0], *out):
        return jnp.zeros(shape, x.dtype)
    return input_gradient(x, kernel, geometry, out)


def _flipped(kernel: Array, groups: int) -> Array:
    """Flip the window and swap input and output channels within each group."""
    *window, inputs, features = kernel.shape
    kernel = lax.rev(kernel, tuple(range(len(window))))
    split = kernel.reshape(*window, inputs, groups, features // groups)
    return jnp.swapaxes(split, -1, -3).reshape(*window, features // groups, groups * inputs)


def _same_at_stride_one(
    window: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    extent = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
    return [(0, 0), *((e // 2, e - e // 2) for e in extent), (0, 0)]
