"""U-Net (Ronneberger et al., arXiv:1505.04597) for restoration in 2, 3 or 4 dimensions."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_kinds, check_lowest
from medjax.nn.attention import AttentionGate, SqueezeExcite
from medjax.nn.blocks import (
    ConvUnit,
    Norm,
    Precision,
    Remat,
    ResidualBlock,
    Upsample,
    Upsampling,
    kept_or_not,
    pad_to_multiple,
    spatial_dims,
    to_image,
)
from medjax.nn.factorised import along, factors

LevelBlock = Literal["plain", "residual"]
SkipAttention = Literal["none", "gate", "squeeze_excite"]


@dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """Size and options of a `UNet`."""

    width: int = 32
    """Channels at full resolution; they double with every halving."""
    depth: int = 4
    """Number of halvings of every spatial dimension; 0 leaves a plain convolutional network."""
    convs_per_level: int = 2
    """3x3 convolutions at each level, on the way down and on the way up."""
    max_width: int = 512
    """Upper bound on the channels of the deep levels."""
    full_resolution_blocks: int = 0
    """Residual blocks (two 3x3 convolutions each) at full resolution, after the decoder."""
    norm: Norm = "batch"
    """Normalisation after every convolution but the last."""
    residual: bool = True
    """Add the input's first `out_channels` channels to the output and start from the identity."""
    out_channels: int = 1
    """Channels of the restored image."""
    upsample: Upsampling = "transpose"
    """How the decoder doubles the resolution: transposed convolution, or repeat and convolve."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, statistics and output stay float32."""
    level_block: LevelBlock = "plain"
    """What each level holds after its first convolution: convolutions, or as many residual blocks
    of two (arXiv:1512.03385)."""
    attention: SkipAttention = "none"
    """Weights on the skips: of positions, by the decoder (arXiv:1804.03999), or of channels, by
    their means (arXiv:1709.01507)."""
    factorised: bool = False
    """Every convolution but the last over space and then over time, the leading axis
    (arXiv:1711.11248), which is not halved; for series, and volumes of few or thick slices."""
    remat: Remat = "none"
    """What the backward pass computes again instead of keeping it: nothing, or each level's and
    each full-resolution block's inside. The same result with less memory and a third more work."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, depth=0, convs_per_level=1, full_resolution_blocks=0)
        if self.max_width < self.width:
            raise ValueError("UNetConfig.max_width must be at least width")
        check_kinds(self, level_block=LevelBlock, attention=SkipAttention, remat=Remat)

    def build(self) -> "UNet":
        return UNet(self)


class UNet(nn.Module):
    """Encoder of 3x3 convolutions, normalisation and LeakyReLU; transposed decoder with skips.

    Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions of any size and returns
    `[batch, *space, out_channels]` in float32. Channels after the first `out_channels` of the
    input are conditions, such as a noise level map. With `residual` the last convolution starts
    at zero, so an untrained network returns its input. `train` selects the batch's own
    statistics under `norm="batch"`.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or `residual` has too few input channels.
    """

    config: UNetConfig = UNetConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        dims = spatial_dims(x)
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.depth + 1)]

        def convolve(h: Array, level: int, stride: int = 1) -> Array:
            unit = ConvUnit(
                widths[level],
                stride=stride,
                norm=config.norm,
                dtype=config.dtype,
                factorised=config.factorised,
            )
            return unit(h, train=train)

        def block(h: Array) -> Array:
            return ResidualBlock(config.norm, config.dtype, config.factorised)(h, train=train)

        def fill(h: Array, level: int) -> Array:
            for _ in range(config.convs_per_level - 1):
                h = block(h) if config.level_block == "residual" else convolve(h, level)
            return h

        def weigh(skip: Array, gating: Array) -> Array:
            dtype = jnp.dtype(config.dtype)
            if config.attention == "gate":
                return AttentionGate(dtype=dtype)(skip, gating)
            return skip if config.attention == "none" else SqueezeExcite(dtype=dtype)(skip)

        def down(_: nn.Module, level: int, h: Array) -> Array:
            return fill(convolve(h, level, stride=1 if level == 0 else 2), level)

        def up(_: nn.Module, level: int, h: Array, skip: Array) -> Array:
            upsample = Upsample(
                widths[level], config.upsample, config.norm, config.dtype, config.factorised
            )
            h = upsample(h, train=train)
            return fill(convolve(jnp.concatenate([h, weigh(skip, h)], axis=-1), level), level)

        def refine(_: nn.Module, __: int, h: Array) -> Array:
            return block(h)

        lifted = partial(kept_or_not, config.remat)
        halved = factors(dims)[0] if config.factorised else (True,) * dims
        h = pad_to_multiple(x, along(halved, 2**config.depth)).astype(config.dtype)
        skips: list[Array] = []
        for level in range(config.depth + 1):
            h = lifted(down)(self, level, h)
            skips.append(h)
        h = skips.pop()
        for level in reversed(range(config.depth)):
            h = lifted(up)(self, level, h, skips.pop())
        for i in range(config.full_resolution_blocks):
            h = lifted(refine)(self, i, h)
        return to_image(h, x, config.out_channels, residual=config.residual, dtype=config.dtype)
