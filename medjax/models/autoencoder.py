"""Plain convolutional autoencoder: the baseline of equal size beside the residual dense one."""

from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_lowest
from medjax.models.rdae import RDAEConfig
from medjax.models.size import parameter_count, with_parameters
from medjax.nn.blocks import (
    ConvUnit,
    Norm,
    Precision,
    Upsample,
    pad_to_multiple,
    spatial_dims,
    to_image,
)


@dataclass(frozen=True)
class AutoencoderConfig(NetworkConfig):
    """Size and options of an `Autoencoder`."""

    width: int = 32
    """Channels at full resolution; they double with every halving."""
    depth: int = 2
    """Number of halvings of every spatial dimension."""
    convs_per_level: int = 2
    """3x3 convolutions at each level, on the way down and on the way up."""
    norm: Norm = "none"
    """Normalisation after every convolution but the last."""
    out_channels: int = 1
    """Channels of the restored image."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, statistics and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, depth=0, convs_per_level=1, out_channels=1)

    def build(self) -> "Autoencoder":
        return Autoencoder(self)


class Autoencoder(nn.Module):
    """Convolutions down to a bottleneck and up again: no skips, no dense connections, no residuals.

    All that the restored image shows has passed the bottleneck. Takes `[batch, *space, channel]`
    with 2, 3 or 4 spatial dimensions of any size and returns `[batch, *space, out_channels]` in
    float32; an untrained network returns noise, not its input.

    Raises:
        ValueError: the rank is not 4, 5 or 6.
    """

    config: AutoencoderConfig = AutoencoderConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        spatial_dims(x)

        def level(h: Array, number: int, convs: int, stride: int = 1) -> Array:
            for i in range(convs):
                h = ConvUnit(
                    config.width * 2**number,
                    stride=stride if i == 0 else 1,
                    norm=config.norm,
                    dtype=config.dtype,
                )(h, train=train)
            return h

        h = pad_to_multiple(x, 2**config.depth).astype(config.dtype)
        h = level(h, 0, config.convs_per_level)
        for number in range(1, config.depth + 1):
            h = level(h, number, config.convs_per_level, stride=2)
        for number in reversed(range(config.depth)):
            up = Upsample(config.width * 2**number, norm=config.norm, dtype=config.dtype)
            h = level(up(h, train=train), number, config.convs_per_level)
        return to_image(h, x, config.out_channels, residual=False, dtype=config.dtype)


def matching(rdae: RDAEConfig, *, dims: int = 2, channels: int = 2) -> AutoencoderConfig:
    """The autoencoder with the halvings of `rdae` whose parameters are nearest in number.

    Its layers of 3x3 at each level are as many as `rdae` has; its width follows.

    Args:
        rdae: the residual dense autoencoder to stand beside.
        dims: spatial dimensions of the images.
        channels: of the networks' input, conditions included.
    """
    plain = AutoencoderConfig(
        depth=rdae.depth,
        convs_per_level=rdae.blocks * rdae.layers,
        norm=rdae.norm,
        out_channels=rdae.out_channels,
        dtype=rdae.dtype,
    )
    count = parameter_count(rdae, dims=dims, channels=channels)
    return with_parameters(plain, count, dims=dims, channels=channels)
