"""PatchGAN discriminator of pix2pix (Isola et al., arXiv:1611.07004), in 2, 3 or 4 dimensions."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import check_lowest
from medjax.nn.blocks import ConvUnit, Norm, Precision, spatial_dims
from medjax.nn.conv import Conv

_INIT = nn.initializers.normal(0.02)


@dataclass(frozen=True)
class PatchGANConfig:
    """Size and options of a `PatchGAN`."""

    width: int = 64
    """Channels after the first convolution; they double with every layer up to 8 times this."""
    layers: int = 3
    """Convolutions of stride 2. The receptive field is 16, 34, 70, 142 for 1, 2, 3, 4 layers."""
    norm: Norm = "batch"
    """Normalisation after every convolution but the first and the last."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, statistics and logits stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, layers=1)

    @property
    def receptive_field(self) -> int:
        """Side of the input patch, in voxels, that one logit sees."""
        field = 1
        for stride in reversed((2,) * self.layers + (1, 1)):
            field = (field - 1) * stride + 4
        return field

    @property
    def smallest_input(self) -> int:
        """Least number of voxels along each dimension that leaves at least one logit."""
        return 3 * 2**self.layers


class PatchGAN(nn.Module):
    """Real or not, for every patch of an image, given the degraded image it was restored from.

    Takes the condition `[batch, *space, c]` and the image `[batch, *space, d]`; returns logits
    `[batch, *patches, 1]` in float32, `30 x 30` for `256 x 256` with the default of 3 layers.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or a dimension is too small for the layers.
    """

    config: PatchGANConfig = PatchGANConfig()

    @nn.compact
    def __call__(
        self,
        condition: Float[Array, "batch *space c"],
        image: Float[Array, "batch *space d"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch *patches 1"]:
        config = self.config
        dims, space = spatial_dims(image), image.shape[1:-1]
        if min(space) < config.smallest_input:
            raise ValueError(
                f"a PatchGAN of {config.layers} layers needs {config.smallest_input} voxels along "
                f"every dimension, got {space}; take fewer layers or larger patches"
            )
        h = jnp.concatenate([condition, image], axis=-1).astype(config.dtype)
        for layer in range(config.layers + 1):
            h = ConvUnit(
                config.width * 2 ** min(layer, 3),
                kernel=4,
                stride=2 if layer < config.layers else 1,
                padding=1,
                norm="none" if layer == 0 else config.norm,
                dtype=config.dtype,
                kernel_init=_INIT,
            )(h, train=train)
        logits = Conv(1, (4,) * dims, padding=1, dtype=jnp.dtype(config.dtype), kernel_init=_INIT)(
            h
        )
        return logits.astype(jnp.float32)
