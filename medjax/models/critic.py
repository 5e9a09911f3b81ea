"""The critic of WGAN-VGG (Yang et al., arXiv:1708.00961), in 2, 3 or 4 dimensions."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import check_lowest
from medjax.nn.blocks import ConvUnit, Precision, activate, he_normal, spatial_dims


@dataclass(frozen=True)
class CriticConfig:
    """Size of a `Critic`; the defaults are the paper's."""

    width: int = 64
    """Channels of the first stage; they double with every stage."""
    stages: int = 3
    """Pairs of 3^n convolutions, the second of each with stride 2."""
    dense: int = 1024
    """Features of the dense layer before the score."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, dense layers and the score stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, stages=1, dense=1)


class Critic(nn.Module):
    """How real each image looks, as one number without bounds.

    Takes images `[batch, *space, channel]`, all of one size because of the dense layers, and
    returns `[batch]` in float32. Nothing is normalised: a gradient penalty is of each image alone.
    Convolutions keep the size by zeros around; whether the paper's do it does not say.

    Raises:
        ValueError: the rank is not 4, 5 or 6.
    """

    config: CriticConfig = CriticConfig()

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, " batch"]:
        config = self.config
        spatial_dims(image)
        h = image.astype(config.dtype)
        for stage in range(config.stages):
            for stride in (1, 2):
                unit = ConvUnit(
                    config.width * 2**stage, stride=stride, padding=1, dtype=config.dtype
                )
                h = unit(h, train=train)
        h = h.astype(jnp.float32).reshape(len(h), -1)
        h = activate(nn.Dense(config.dense, kernel_init=he_normal())(h))
        return nn.Dense(1)(h)[:, 0]
