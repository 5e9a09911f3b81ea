"""Convolutions for 1 to 4 spatial dimensions, drop-in for Flax Linen's `Conv` and `ConvTranspose`.

The modules take Flax's constructor arguments and make the same parameters (names, shapes,
initial values), so that parameters interchange. Beyond Flax they take 4 spatial dimensions and
`padding="EDGE"`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer, PrecisionLike
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

default_kernel_init = nn.initializers.lecun_normal()


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


class Conv(nn.Module):
    """`flax.linen.Conv` through `conv`: same arguments, parameters and results.

    Attributes are Flax's; see `flax.linen.Conv`. Beyond Flax, `kernel_size` may have 4 dimensions
    and `padding` may be `"EDGE"`.

    Raises:
        ValueError: shapes, groups and padding do not go together.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: PaddingLike = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Array | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch_space channel"]) -> Array:
        """Convolve `[*batch, *space, channel]`; any number of batch dimensions, none included."""
        window = _window(self.kernel_size)
        n = len(window)
        channels = inputs.shape[-1]
        if channels % self.feature_group_count:
            raise ValueError(
                f"{channels} channels do not split into {self.feature_group_count} groups"
            )
        shape = (*window, channels // self.feature_group_count, self.features)
        kernel, bias = _parameters(self, shape)
        x, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        batch = x.shape[: x.ndim - n - 1]
        x = x.reshape(-1, *x.shape[x.ndim - n - 1 :])
        y = conv(
            _interleaved(x, per_dimension(self.input_dilation, n)),
            kernel,
            self.strides,
            self.padding,
            self.kernel_dilation,
            self.feature_group_count,
            self.precision,
        )
        y = y if bias is None else y + bias
        return y.reshape(*batch, *y.shape[1:])


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose` through `conv_transpose`: same arguments, parameters, results.

    Attributes are Flax's; see `flax.linen.ConvTranspose`. Beyond Flax, `kernel_size` may have 4
    dimensions. With `preferred_element_type` inputs and kernel are promoted to it first.

    Raises:
        ValueError: shapes and padding do not go together; `"REFLECT"` and `"EDGE"` have no meaning
            here.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: PaddingLike = "SAME"
    kernel_dilation: int | Sequence[int] | None = None
    use_bias: bool = True
    mask: Array | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    transpose_kernel: bool = False
    promote_dtype: Callable[..., Any] = promote_dtype
    preferred_element_type: Dtype | None = None

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch_space channel"]) -> Array:
        """Up-sample `[*batch, *space, channel]`; any number of batch dimensions, none included."""
        window = _window(self.kernel_size)
        n = len(window)
        ends = (self.features, inputs.shape[-1])
        shape = (*window, *(ends if self.transpose_kernel else ends[::-1]))
        kernel, bias = _parameters(self, shape)
        x, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        if self.preferred_element_type is not None:
            x, kernel = (a.astype(self.preferred_element_type) for a in (x, kernel))
        batch = x.shape[: x.ndim - n - 1]
        x = x.reshape(-1, *x.shape[x.ndim - n - 1 :])
        circular = self.padding == "CIRCULAR"
        y = conv_transpose(
            x,
            kernel,
            self.strides,
            "VALID" if circular else self.padding,
            self.kernel_dilation,
            transpose_kernel=self.transpose_kernel,
            precision=self.precision,
        )
        if circular:
            steps = per_dimension(self.strides, n)
            y = _wrapped(
                y,
                tuple(s * t for s, t in zip(x.shape[1:-1], steps, strict=True)),
                right=self.transpose_kernel,
            )
        y = y if bias is None else y + bias
        return y.reshape(*batch, *y.shape[1:])


def _window(kernel_size: int | Sequence[int]) -> tuple[int, ...]:
    return (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)


def _parameters(module: Conv | ConvTranspose, shape: tuple[int, ...]) -> tuple[Array, Array | None]:
    if module.mask is not None and module.mask.shape != shape:
        raise ValueError(f"the mask has shape {module.mask.shape}, the kernel {shape}")
    kernel = module.param("kernel", module.kernel_init, shape, module.param_dtype)
    if module.mask is not None:
        kernel = kernel * module.mask
    if not module.use_bias:
        return kernel, None
    return kernel, module.param("bias", module.bias_init, (module.features,), module.param_dtype)


def _interleaved(x: Array, steps: tuple[int, ...]) -> Array:
    """Put `step - 1` zeros between neighbours."""
    if all(step == 1 for step in steps):
        return x
    between = [(0, 0, 0), *((0, 0, step - 1) for step in steps), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), between)


def _wrapped(y: Array, period: tuple[int, ...], right: bool) -> Array:
    """Add up what lies whole periods apart, which makes a full transposed convolution circular.

    The odd cell of padding goes left, or right where the kernel is that of the convolution being
    transposed; both as in Flax.
    """
    for axis, p in enumerate(period, start=1):
        lack = -(y.shape[axis] - p) % (2 * p)
        low, high = (lack // 2, lack - lack // 2) if right else (lack - lack // 2, lack // 2)
        pads = [(0, 0)] * y.ndim
        pads[axis] = (low, high)
        y = jnp.pad(y, pads)
        y = y.reshape(*y.shape[:axis], -1, p, *y.shape[axis + 1 :]).sum(axis)
    return y


def _same_at_stride_one(
    window: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    extent = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
    return [(0, 0), *((e // 2, e - e // 2) for e in extent), (0, 0)]
