"""Blocks that the networks share, each in 2, 3 or 4 spatial dimensions from one definition.

Arrays are `[batch, *space, channel]`; the number of spatial dimensions is the input's rank minus
two. Parameters and statistics are float32 whatever type the convolutions compute in.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.nn.conv import Conv, ConvTranspose
from medjax.nn.factorised import FactorisedConv, along, factors
from medjax.nn.geometry import per_dimension
from medjax.nn.norm import BatchNorm

Norm = Literal["batch", "instance", "none"]
Upsampling = Literal["transpose", "nearest"]
Precision = Literal["float32", "bfloat16"]
Remat = Literal["none", "blocks"]
Initialiser = Callable[..., Array]

Features = Float[Array, "batch *space channel"]

SLOPE = 0.2
"""Negative slope of every LeakyReLU (pix2pix)."""


def spatial_dims(x: Features) -> int:
    """Number of spatial dimensions of `x` `[batch, *space, channel]`.

    Raises:
        ValueError: it is not 2, 3 or 4.
    """
    dims = x.ndim - 2
    if dims not in (2, 3, 4):
        raise ValueError(
            f"expected [batch, *space, channel] with 2, 3 or 4 spatial dimensions, got {x.shape}"
        )
    return dims


def kept_or_not(remat: Remat, block: Callable[..., Array]) -> Callable[..., Array]:
    """`block(module, static, *arrays)`, whose inner results are not kept where `remat` is "blocks".

    The backward pass then computes them again from the arrays (arXiv:1604.06174): the same
    numbers and parameters, less memory, one more forward pass. For use inside `@nn.compact`,
    where `block` makes its layers as it would without.
    """
    return nn.remat(block, static_argnums=(1,)) if remat == "blocks" else block


def he_normal(gain: float = 1.0) -> Initialiser:
    """He initialisation for convolutions before a LeakyReLU of `SLOPE` (arXiv:1502.01852).

    `gain` multiplies the variance: a transposed convolution of stride 2 feeds each output from
    only one in `2**dims` of its taps and needs `gain=2**dims`.
    """
    return nn.initializers.variance_scaling(2 * gain / (1 + SLOPE**2), "fan_in", "normal")


def activate(x: Features) -> Features:
    """LeakyReLU with `SLOPE`."""
    return nn.leaky_relu(x, SLOPE)


class Normalise(nn.Module):
    """Batch normalisation, instance normalisation or nothing, computed in float32.

    `"batch"` keeps running statistics in the `batch_stats` collection, updated with momentum 0.9
    when `train` and used when not. Under a sharded `jit` the statistics are those of the whole
    batch over all devices.
    """

    kind: Norm

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> Features:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            layer = BatchNorm(use_running_average=not train, momentum=0.9)
        elif self.kind == "instance":
            layer = nn.InstanceNorm(epsilon=1e-5)
        else:
            raise ValueError(f"norm is 'batch', 'instance' or 'none', not {self.kind!r}")
        return layer(x.astype(jnp.float32)).astype(x.dtype)


def convolution(factorised: bool) -> Callable[..., Conv | FactorisedConv]:
    """`Conv`, or the same over space and then over time with an activation between."""
    return partial(FactorisedConv, between=activate) if factorised else Conv


class ConvUnit(nn.Module):
    """Convolution, normalisation, LeakyReLU.

    `factorised` convolves over space and then over time, the leading axis, which keeps its length
    (nn/factorised.py).
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: str | int = "SAME"
    norm: Norm = "none"
    dtype: Precision = "float32"
    kernel_init: Initialiser = he_normal()
    factorised: bool = False

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> Features:
        dims = spatial_dims(x)
        # Normalisation subtracts the mean, so a bias before it would do nothing.
        x = convolution(self.factorised)(
            self.features,
            (self.kernel,) * dims,
            strides=self.stride,
            padding=self.padding,
            use_bias=self.norm == "none",
            dtype=jnp.dtype(self.dtype),
            kernel_init=self.kernel_init,
        )(x)
        return activate(Normalise(self.norm)(x, train=train))


class ResidualBlock(nn.Module):
    """`x` plus two convolutions of it, at one resolution and width (arXiv:1512.03385)."""

    norm: Norm = "none"
    dtype: Precision = "float32"
    factorised: bool = False

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> Features:
        dims, features = spatial_dims(x), x.shape[-1]
        unit = ConvUnit(features, norm=self.norm, dtype=self.dtype, factorised=self.factorised)
        # A tenth of the usual variance: stacked blocks start near the identity.
        h = convolution(self.factorised)(
            features,
            (3,) * dims,
            use_bias=self.norm == "none",
            dtype=jnp.dtype(self.dtype),
            kernel_init=he_normal(0.1),
        )(unit(x, train=train))
        return x + Normalise(self.norm)(h, train=train)


class Upsample(nn.Module):
    """Double every spatial dimension, then normalisation and LeakyReLU.

    `"transpose"` is a 4-tap transposed convolution of stride 2 (even coverage, so no checkerboard
    from overlap); `"nearest"` repeats and convolves with 3 taps. `factorised` leaves time, the
    leading axis, as it is.
    """

    features: int
    mode: Upsampling = "transpose"
    norm: Norm = "none"
    dtype: Precision = "float32"
    factorised: bool = False

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> Features:
        dims = spatial_dims(x)
        doubled = factors(dims)[0] if self.factorised else (True,) * dims
        if self.mode == "nearest":
            for axis in range(dims):
                x = jnp.repeat(x, 2, axis + 1) if doubled[axis] else x
            unit = ConvUnit(
                self.features, norm=self.norm, dtype=self.dtype, factorised=self.factorised
            )
            return unit(x, train=train)
        if self.mode != "transpose":
            raise ValueError(f"upsample is 'transpose' or 'nearest', not {self.mode!r}")
        x = ConvTranspose(
            self.features,
            along(doubled, 4),
            strides=along(doubled, 2),
            use_bias=self.norm == "none",
            dtype=jnp.dtype(self.dtype),
            kernel_init=he_normal(2 ** sum(doubled)),
        )(x)
        return activate(Normalise(self.norm)(x, train=train))


def to_image(
    h: Features,
    degraded: Features,
    out_channels: int,
    *,
    residual: bool,
    dtype: Precision = "float32",
) -> Float[Array, "batch *space out"]:
    """The end of a network, inside its `@nn.compact`: a 3x3 convolution of `h` to the image.

    `h` may be larger than `degraded` at the far ends, by what was padded. With `residual` the
    convolution starts at zero and the first `out_channels` channels of `degraded` are added, so
    an untrained network returns its input. Returns float32.

    Raises:
        ValueError: `degraded` has fewer channels than there are to add to.
    """
    if residual and degraded.shape[-1] < out_channels:
        raise ValueError(
            f"a residual network with {out_channels} output channels needs at least as many "
            f"input channels, got {degraded.shape[-1]}"
        )
    zeros, lecun = nn.initializers.zeros, nn.initializers.lecun_normal()
    h = Conv(
        out_channels,
        (3,) * spatial_dims(h),
        dtype=jnp.dtype(dtype),
        kernel_init=zeros if residual else lecun,
    )(h)
    h = h[:, *(slice(n) for n in degraded.shape[1:-1])].astype(jnp.float32)
    return degraded[..., :out_channels].astype(jnp.float32) + h if residual else h


def pad_to_multiple(
    x: Features, multiple: int | Sequence[int]
) -> Float[Array, "batch *padded channel"]:
    """Reflect `x` at the far end of each spatial dimension up to a multiple of `multiple`.

    Axes shorter than the padding are reflected to and fro; an axis of one sample is repeated.
    """
    multiples = per_dimension(multiple, spatial_dims(x))
    lengths = zip(x.shape[1:-1], multiples, strict=True)
    pads = [(0, 0), *((0, -n % m) for n, m in lengths), (0, 0)]
    return jnp.pad(x, pads, mode="reflect")
