"""Conditional variational autoencoder (Sohn et al., NIPS 2015) that restores images.

Its decoder is a U-Net over the degraded image (as the probabilistic U-Net, Kohl et al.,
arXiv:1806.05034) that a latent joins at its deepest level: what the degraded image does not say.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import check_kinds
from medjax.models.latent import (
    Gaussian,
    Reconstruction,
    bounded_gaussian,
    equalised,
    near_prior,
    standard_normal_like,
)
from medjax.models.vae import Decoder, Encoder, VariationalConfig, crop
from medjax.nn.blocks import ConvUnit, Features, spatial_dims
from medjax.nn.conv import Conv

Prior = Literal["learned", "standard"]


@dataclass(frozen=True)
class CVAEConfig(VariationalConfig):
    """Size and options of a `CVAE`."""

    prior: Prior = "learned"
    """p(z | degraded image) from the degraded image, or the standard normal."""
    residual: bool = True
    """Add the degraded image to the output and start from the identity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kinds(self, prior=Prior)

    def build(self) -> "CVAE":
        return CVAE(self)


class LatentHead(nn.Module):
    """The distribution of the latent grid or, of features averaged over space, latent vector.

    The average lets a vector be read from, and spread over, images of any size.
    """

    config: VariationalConfig

    @nn.compact
    def __call__(self, deep: Features) -> Gaussian:
        deep = equalised(deep)
        if self.config.latent_shape == "vector":
            deep = jnp.mean(deep, axis=tuple(range(1, deep.ndim - 1)), keepdims=True)
        size = (1,) * spatial_dims(deep)
        head = Conv(2 * self.config.latent, size, kernel_init=near_prior)
        return bounded_gaussian(head(deep))


class CVAE(nn.Module):
    """Restores `[batch, *space, channel]` to `[batch, *space, out_channels]`, any size.

    `network(degraded)` decodes the prior's mean, `draw` a sample of the prior. Channels after the
    first `out_channels` of the input are conditions, such as a noise level map. A latent vector
    is kept as a grid of one sample an axis.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or `residual` has too few input channels.
    """

    config: CVAEConfig = CVAEConfig()

    def setup(self) -> None:
        config = self.config
        self.condition = Encoder(config)
        self.recognition = Encoder(config)
        self.posterior = LatentHead(config)
        if config.prior == "learned":
            self.prior = LatentHead(config)
        self.join = ConvUnit(config.widths[-1], norm=config.norm, dtype=config.dtype)
        self.decoder = Decoder(config, zero=config.residual)

    def __call__(self, degraded: Features, *, train: bool = False) -> Features:
        levels = self._levels(degraded, train)
        return self._decode(self._prior(levels).mean, levels, degraded, train)

    def reconstruct(
        self, degraded: Features, clean: Features, *, train: bool = False
    ) -> Reconstruction:
        """Decodes a sample of the posterior of `clean`, and the prior's mean."""
        levels = self._levels(degraded, train)
        prior = self._prior(levels)
        both = jnp.concatenate([degraded, clean.astype(degraded.dtype)], axis=-1)
        posterior = self.posterior(self.recognition(both, train=train)[-1])
        latent = posterior.sample(self.make_rng("latent"))
        # One pass over both latents: statistics of a batch norm are then of both.
        twice = [jnp.concatenate([level, level]) for level in levels]
        images = self._decode(
            jnp.concatenate([latent, prior.mean]),
            twice,
            jnp.concatenate([degraded, degraded]),
            train,
        )
        image, restored = jnp.split(images, 2)
        return Reconstruction(image, posterior, prior, restored)

    def draw(self, degraded: Features) -> Features:
        """A restoration decoded from a sample of the prior."""
        levels = self._levels(degraded, train=False)
        latent = self._prior(levels).sample(self.make_rng("latent"))
        return self._decode(latent, levels, degraded, train=False)

    def _levels(self, degraded: Features, train: bool) -> list[Features]:
        if self.config.residual and degraded.shape[-1] < self.config.out_channels:
            raise ValueError(
                f"a residual CVAE with {self.config.out_channels} output channels needs at least "
                f"as many input channels, got {degraded.shape[-1]}"
            )
        return self.condition(degraded, train=train)

    def _prior(self, levels: list[Features]) -> Gaussian:
        if self.config.prior == "learned":
            return self.prior(levels[-1])
        space = levels[-1].shape[1:-1]
        grid = space if self.config.latent_shape == "spatial" else (1,) * len(space)
        zeros = jnp.zeros((len(levels[-1]), *grid, self.config.latent))
        return standard_normal_like(Gaussian(zeros, zeros))

    def _decode(
        self,
        latent: Float[Array, "batch *grid latent"],
        levels: list[Features],
        degraded: Features,
        train: bool,
    ) -> Float[Array, "batch *space out"]:
        deep = levels[-1]
        latent = jnp.broadcast_to(latent, (*deep.shape[:-1], latent.shape[-1]))
        h = self.join(jnp.concatenate([deep, latent.astype(deep.dtype)], axis=-1), train=train)
        out = crop(self.decoder(h, levels[:-1], train=train), degraded.shape[1:-1])
        if not self.config.residual:
            return out
        return degraded[..., : self.config.out_channels].astype(jnp.float32) + out
