"""A network that may change only the samples that a mask marks."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig
from medjax.models.unet import UNetConfig


@dataclass(frozen=True)
class MaskedConfig(NetworkConfig):
    """A network for missing data: `inner` fills, the rest stays."""

    inner: NetworkConfig = UNetConfig()
    """The network that draws the missing samples, from the filled image and the mask."""

    def build(self) -> "Masked":
        return Masked(self.inner.build())


class Masked(nn.Module):
    """Takes `[batch, *space, 2]`, an image with a guess in its gaps and a mask that is 1 there.

    Returns `[batch, *space, 1]`: `inner`'s output where the mask is over 1/2, elsewhere the input
    itself, so that neither losses nor discriminators see it drift.

    Raises:
        ValueError: the input has no mask channel.
    """

    inner: nn.Module

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space 2"], *, train: bool = False
    ) -> Float[Array, "batch *space 1"]:
        if x.shape[-1] != 2:
            raise ValueError(f"Masked takes an image and a mask as channels, got {x.shape}")
        return jnp.where(x[..., 1:] > 0.5, self.inner(x, train=train), x[..., :1])
