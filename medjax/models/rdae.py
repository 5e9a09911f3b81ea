"""Residual dense autoencoder in 2, 3 or 4 dimensions.

The blocks, their local fusion and local residual, and the global fusion and global residual are
those of the residual dense network (Zhang et al., arXiv:1802.08797); around them stands an
autoencoder, with blocks at every scale, so that few layers see far.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_kinds, check_lowest
from medjax.nn.blocks import (
    ConvUnit,
    Norm,
    Precision,
    Remat,
    Upsample,
    he_normal,
    kept_or_not,
    pad_to_multiple,
    spatial_dims,
    to_image,
)
from medjax.nn.conv import Conv


@dataclass(frozen=True)
class RDAEConfig(NetworkConfig):
    """Size and options of an `RDAE`."""

    width: int = 32
    """Channels at full resolution; they double with every halving."""
    growth: int = 16
    """Channels that each dense layer adds at full resolution; they double likewise."""
    layers: int = 4
    """Dense layers of a block; a block of L layers has L (L + 1) / 2 connections."""
    blocks: int = 2
    """Residual dense blocks at each scale, on the way down and on the way up."""
    depth: int = 2
    """Number of halvings of every spatial dimension; 0 leaves a residual dense network."""
    norm: Norm = "none"
    """Normalisation after the 3x3 convolutions with an activation."""
    residual: bool = True
    """Add the input's first `out_channels` channels to the output and start from the identity."""
    out_channels: int = 1
    """Channels of the restored image."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, statistics and output stay float32."""
    remat: Remat = "none"
    """What the backward pass computes again instead of keeping it: nothing, or each dense block's
    inside. The same result with less memory and up to a third more work."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, growth=1, layers=1, blocks=1, depth=0, out_channels=1)
        check_kinds(self, remat=Remat)

    def build(self) -> "RDAE":
        return RDAE(self)


class ResidualDenseBlock(nn.Module):
    """Layers that each see the block's input and all earlier layers; fused, and added to the input.

    Attributes:
        growth: channels that each layer adds.
        layers: number of 3x3 layers.
        norm: normalisation of each layer.
        dtype: type in which to compute.
    """

    growth: int
    layers: int
    norm: Norm = "none"
    dtype: Precision = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool
    ) -> Float[Array, "batch *space channel"]:
        seen = x
        for _ in range(self.layers):
            layer = ConvUnit(self.growth, norm=self.norm, dtype=self.dtype)
            seen = jnp.concatenate([seen, layer(seen, train=train)], axis=-1)
        return x + _fuse(seen, x.shape[-1], self.dtype, gain=0.1)


class RDAE(nn.Module):
    """Residual dense blocks down to a bottleneck and up again; blocks of a scale are fused.

    Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions of any size and returns
    `[batch, *space, out_channels]` in float32. Channels after the first `out_channels` of the
    input are conditions, such as a noise level map. With `residual` the last convolution starts
    at zero, so an untrained network returns its input.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or `residual` has too few input channels.
    """

    config: RDAEConfig = RDAEConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        dims, dtype = spatial_dims(x), config.dtype
        widths = [config.width * 2**level for level in range(config.depth + 1)]
        # What the blocks of each scale gave, for the fusion there on the way up.
        given: list[list[Array]] = [[] for _ in widths]

        def dense_block(_: nn.Module, level: int, h: Array) -> Array:
            growth = config.growth * 2**level
            block = ResidualDenseBlock(growth, config.layers, config.norm, dtype)
            return block(h, train=train)

        def dense(h: Array, level: int) -> Array:
            for _ in range(config.blocks):
                h = kept_or_not(config.remat, dense_block)(self, level, h)
                given[level].append(h)
            return h

        h = pad_to_multiple(x, 2**config.depth).astype(dtype)
        shallow = ConvUnit(widths[0], norm=config.norm, dtype=dtype)(h, train=train)
        h = dense(ConvUnit(widths[0], norm=config.norm, dtype=dtype)(shallow, train=train), 0)
        for level in range(1, config.depth + 1):
            down = ConvUnit(widths[level], stride=2, norm=config.norm, dtype=dtype)
            h = dense(down(h, train=train), level)
        for level in reversed(range(config.depth)):
            up = Upsample(widths[level], norm=config.norm, dtype=dtype)
            h = jnp.concatenate([up(h, train=train), *given[level]], axis=-1)
            h = dense(_fuse(h, widths[level], dtype), level)

        h = _fuse(jnp.concatenate(given[0], axis=-1), widths[0], dtype)
        h = Conv(
            widths[0],
            (3,) * dims,
            dtype=jnp.dtype(dtype),
            kernel_init=nn.initializers.lecun_normal(),
        )(h)
        return to_image(shallow + h, x, config.out_channels, residual=config.residual, dtype=dtype)


def _fuse(h: Array, features: int, dtype: Precision, gain: float = 0.5) -> Array:
    """A 1x1 convolution without activation: the network's choice among the features it was given.

    `gain` multiplies the variance that He's initialisation gives; a half keeps that of the input.
    """
    one = (1,) * spatial_dims(h)
    return Conv(features, one, dtype=jnp.dtype(dtype), kernel_init=he_normal(gain))(h)
