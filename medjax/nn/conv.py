"""Convolutions for 1 to 4 spatial dimensions, drop-in for Flax Linen's `Conv` and `ConvTranspose`.

The modules take Flax's constructor arguments and make the same parameters (names, shapes,
initial values), so that parameters interchange. Beyond Flax they take 4 spatial dimensions and
`padding="EDGE"`. What runs on which platform stands in medjax/nn/lowering.py.

Derivatives are reverse-mode, of any order (`jax.grad` of `jax.grad`); `jax.jvp` and `jacfwd` raise.

One training step, medians of interleaved rounds, by `python -m benchmarks.conv --cases U-Net --what
training`, with the batch norm of medjax/nn/norm.py, on 2 cores of an AMD EPYC with AVX-512 (jax
0.10.1, PyTorch 2.13 channels-last, each in a process of its own; five runs, three without oneDNN,
one of stock Flax):

| | PyTorch / ours | without oneDNN | stock / ours |
|---|---|---|---|
| 2-D U-Net, 4x256^2, base 32 | 0.92 to 0.98 | 0.78 to 0.88 | 24 |
| 3-D U-Net, 2x48^3, base 16 | 0.94 to 1.04 | 0.65 to 0.79 | 95 |
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer, PrecisionLike
from jax import lax
from jaxtyping import Array, Float

from medjax.nn.convolve import conv, conv_transpose
from medjax.nn.geometry import PaddingLike, per_dimension

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose"]

default_kernel_init = nn.initializers.lecun_normal()


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
