"""U-Net (Ronneberger et al., arXiv:1505.04597) for restoration in 2, 3 or 4 dimensions."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig
from medjax.nn.blocks import (
    ConvUnit,
    Norm,
    Precision,
    ResidualBlock,
    Upsample,
    Upsampling,
    spatial_dims,
)
from medjax.nn.conv import Conv


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

    def __post_init__(self) -> None:
        lowest = {"width": 1, "depth": 0, "convs_per_level": 1, "full_resolution_blocks": 0}
        for field, bound in lowest.items():
            if getattr(self, field) < bound:
                raise ValueError(f"UNetConfig.{field} must be at least {bound}")
        if self.max_width < self.width:
            raise ValueError("UNetConfig.max_width must be at least width")

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
        if config.residual and x.shape[-1] < config.out_channels:
            raise ValueError(
                f"a residual U-Net with {config.out_channels} output channels needs at least as "
                f"many input channels, got {x.shape[-1]}"
            )
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.depth + 1)]

        def convolve(h: Array, level: int, stride: int = 1) -> Array:
            unit = ConvUnit(widths[level], stride=stride, norm=config.norm, dtype=config.dtype)
            return unit(h, train=train)

        h = pad_to_multiple(x, 2**config.depth).astype(config.dtype)
        skips: list[Array] = []
        for level in range(config.depth + 1):
            h = convolve(h, level, stride=1 if level == 0 else 2)
            for _ in range(config.convs_per_level - 1):
                h = convolve(h, level)
            skips.append(h)
        h = skips.pop()
        for level in reversed(range(config.depth)):
            up = Upsample(widths[level], config.upsample, config.norm, config.dtype)
            h = jnp.concatenate([up(h, train=train), skips.pop()], axis=-1)
            for _ in range(config.convs_per_level):
                h = convolve(h, level)
        for _ in range(config.full_resolution_blocks):
            h = ResidualBlock(config.norm, config.dtype)(h, train=train)

        zeros, lecun = nn.initializers.zeros, nn.initializers.lecun_normal()
        h = Conv(
            config.out_channels,
            (3,) * dims,
            dtype=jnp.dtype(config.dtype),
            kernel_init=zeros if config.residual else lecun,
        )(h)
        h = h[:, *(slice(n) for n in x.shape[1:-1])].astype(jnp.float32)
        return x[..., : config.out_channels].astype(jnp.float32) + h if config.residual else h


def pad_to_multiple(
    x: Float[Array, "batch *space channel"], multiple: int
) -> Float[Array, "batch *padded channel"]:
    """Reflect `x` at the far end of each spatial dimension up to a multiple of `multiple`."""
    pads = [(0, 0), *((0, -n % multiple) for n in x.shape[1:-1]), (0, 0)]
    return jnp.pad(x, pads, mode="reflect")
