"""Encoder and decoder of residual blocks that weigh channels and positions: DDANet's two networks.

Attention after the blocks of CBAM (Woo et al., arXiv:1807.06521): what a block adds is weighed
first by channel, then by position, here with the layers of `medjax.nn.attention`.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_lowest
from medjax.nn.attention import AttentionGate, SqueezeExcite
from medjax.nn.blocks import (
    ConvUnit,
    Precision,
    Upsample,
    he_normal,
    pad_to_multiple,
    spatial_dims,
    to_image,
)
from medjax.nn.conv import Conv


@dataclass(frozen=True)
class AttentionNetConfig(NetworkConfig):
    """Size and options of an `AttentionNet`."""

    width: int = 32
    """Channels at full resolution; they double with every halving."""
    depth: int = 2
    """Number of halvings of every spatial dimension."""
    blocks: int = 1
    """Attention blocks (two 3x3 convolutions each) at each scale, on the way down and up."""
    max_width: int = 256
    """Upper bound on the channels of the deep levels."""
    residual: bool = True
    """Add the input's first `out_channels` channels to the output."""
    out_channels: int = 1
    """Channels of the result."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, depth=0, blocks=1, out_channels=1)
        if self.max_width < self.width:
            raise ValueError("AttentionNetConfig.max_width must be at least width")

    def build(self) -> "AttentionNet":
        return AttentionNet(self)


class AttentionBlock(nn.Module):
    """`x` plus two convolutions of it, weighed by channel and by position.

    Attributes:
        dtype: type in which to compute.
    """

    dtype: Precision = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"]
    ) -> Float[Array, "batch *space channel"]:
        features, window = x.shape[-1], (3,) * spatial_dims(x)
        dtype = jnp.dtype(self.dtype)
        h = ConvUnit(features, dtype=self.dtype)(x, train=False)
        # A tenth of the usual variance: stacked blocks start near the identity.
        h = Conv(features, window, dtype=dtype, kernel_init=he_normal(0.1))(h)
        h = SqueezeExcite(dtype=dtype)(h)
        return x + AttentionGate(dtype=dtype)(h, x)


class AttentionNet(nn.Module):
    """Attention blocks at every scale with skips between the scales, and a full-resolution path.

    Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions of any size and returns
    `[batch, *space, out_channels]` in float32. Nothing is normalised. The last convolution starts
    at zero: untrained, the network returns the first `out_channels` channels of its input, or
    zeros without `residual`.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or there are fewer channels than `out_channels`.
    """

    config: AttentionNetConfig = AttentionNetConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config, dims = self.config, spatial_dims(x)
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.depth + 1)]

        def refine(h: Array) -> Array:
            for _ in range(config.blocks):
                h = AttentionBlock(config.dtype)(h)
            return h

        h = pad_to_multiple(x, 2**config.depth).astype(config.dtype)
        h = shallow = ConvUnit(widths[0], dtype=config.dtype)(h, train=train)
        skips: list[Array] = []
        for width in widths[1:]:
            skips.append(refine(h))
            h = ConvUnit(width, stride=2, dtype=config.dtype)(skips[-1], train=train)
        h = refine(h)
        for width in reversed(widths[:-1]):
            up = Upsample(width, dtype=config.dtype)(h, train=train)
            h = jnp.concatenate([up, skips.pop()], axis=-1)
            # A 1x1 convolution without activation; half of He's variance keeps the input's.
            fuse = Conv(
                width, (1,) * dims, dtype=jnp.dtype(config.dtype), kernel_init=he_normal(0.5)
            )
            h = refine(fuse(h))
        start = x if config.residual else jnp.zeros_like(x)
        return to_image(shallow + h, start, config.out_channels, residual=True, dtype=config.dtype)
