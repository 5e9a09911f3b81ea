"""A plain stack of 3x3 convolutions: the generator of WGAN-VGG (Yang et al., arXiv:1708.00961)."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_lowest
from medjax.nn.blocks import Precision, spatial_dims, to_image
from medjax.nn.conv import Conv


@dataclass(frozen=True)
class PlainCNNConfig(NetworkConfig):
    """Size and options of a `PlainCNN`; the defaults are the paper's."""

    width: int = 32
    """Channels of every layer but the last."""
    layers: int = 8
    """Convolutions, the last included."""
    residual: bool = False
    """Add the input, so that an untrained network returns it; the paper does not."""
    conditions: bool = False
    """Show the network all channels of its input; else only those that it restores."""
    out_channels: int = 1
    """Channels of the restored image."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, layers=1, out_channels=1)

    def build(self) -> "PlainCNN":
        return PlainCNN(self)


class PlainCNN(nn.Module):
    """3^n convolutions with ReLU between them and zeros around the image, which keep its size.

    Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions (the paper has 2) and
    returns `[batch, *space, out_channels]` in float32.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or there are fewer channels than `out_channels`.
    """

    config: PlainCNNConfig = PlainCNNConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        dims, dtype = spatial_dims(x), jnp.dtype(config.dtype)
        if x.shape[-1] < config.out_channels:
            raise ValueError(
                f"a plain CNN restores {config.out_channels} channels, its input has {x.shape[-1]}"
            )
        h = (x if config.conditions else x[..., : config.out_channels]).astype(dtype)
        he = nn.initializers.he_normal()
        for _ in range(config.layers - 1):
            h = nn.relu(Conv(config.width, (3,) * dims, dtype=dtype, kernel_init=he)(h))
        return to_image(h, x, config.out_channels, residual=config.residual, dtype=config.dtype)
