"""CNN10: the first convolutional network for low-dose CT (Chen et al., Biomed Opt Express 8:679).

In spite of its name it has three layers; the name and the sizes are those of the field's
benchmark (Eulig et al., ldct-benchmark).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_lowest
from medjax.nn.blocks import Precision, spatial_dims
from medjax.nn.conv import Conv


@dataclass(frozen=True)
class CNN10Config(NetworkConfig):
    """Options of a `CNN10`."""

    conditions: bool = False
    """Show the network all channels of its input; else only those that it restores."""
    out_channels: int = 1
    """Channels of the restored image."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, out_channels=1)

    def build(self) -> "CNN10":
        return CNN10(self)


class CNN10(nn.Module):
    """Convolutions of 64 x 9x9, 32 x 3x3 and 1 x 5x5 with ReLU between them; no residual.

    Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions (the paper has 2) and
    returns `[batch, *space, out_channels]` in float32; zeros around the image keep its size.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or there are fewer channels than `out_channels`.
    """

    config: CNN10Config = CNN10Config()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        dims, dtype = spatial_dims(x), jnp.dtype(config.dtype)
        if x.shape[-1] < config.out_channels:
            raise ValueError(
                f"CNN10 restores {config.out_channels} channels, its input has {x.shape[-1]}"
            )
        h = (x if config.conditions else x[..., : config.out_channels]).astype(dtype)
        he = nn.initializers.he_normal()
        for features, taps in ((64, 9), (32, 3)):
            h = nn.relu(Conv(features, (taps,) * dims, dtype=dtype, kernel_init=he)(h))
        return Conv(config.out_channels, (5,) * dims, dtype=dtype)(h).astype(jnp.float32)
