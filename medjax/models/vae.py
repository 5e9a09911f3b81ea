"""Variational autoencoder (Kingma & Welling, arXiv:1312.6114) in 2, 3 or 4 dimensions.

Every autoencoder that `medjax.methods.vae` trains offers, beside `network(degraded)`:

- `reconstruct(degraded, clean) -> Reconstruction`, the pass that training differentiates;
- `draw(degraded)`, one random restoration.

Both take their noise from the random stream "latent" (`rngs={"latent": key}`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_kinds, check_lowest
from medjax.models.latent import (
    Gaussian,
    Reconstruction,
    bounded_gaussian,
    equalised,
    near_prior,
    standard_normal_like,
)
from medjax.nn.blocks import (
    ConvUnit,
    Features,
    Norm,
    Precision,
    Upsample,
    Upsampling,
    activate,
    pad_to_multiple,
    spatial_dims,
)
from medjax.nn.conv import Conv

LatentShape = Literal["spatial", "vector"]
# Squared, and with the small variance of a trained posterior, it makes the prior's 1.
near_one = nn.initializers.constant(0.95)


@dataclass(frozen=True)
class VariationalConfig(NetworkConfig):
    """Size and options that the variational autoencoders share."""

    width: int = 32
    """Channels at full resolution; they double with every halving."""
    depth: int = 3
    """Number of halvings of every spatial dimension between the image and the latent grid."""
    convs_per_level: int = 1
    """3x3 convolutions at each level, on the way down and on the way up."""
    max_width: int = 256
    """Upper bound on the channels of the deep levels."""
    latent: int = 8
    """Latent channels of the grid, or length of the latent vector."""
    latent_shape: LatentShape = "spatial"
    """A grid of latent numbers (local, any image size) or one vector an image (global)."""
    norm: Norm = "none"
    """Normalisation after every convolution but the last."""
    out_channels: int = 1
    """Channels of the image."""
    upsample: Upsampling = "nearest"
    """How the decoder doubles the resolution: transposed convolution, or repeat and convolve."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters, latents and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, depth=1, convs_per_level=1, latent=1)
        check_kinds(self, latent_shape=LatentShape)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level, full resolution first."""
        return tuple(min(self.width * 2**i, self.max_width) for i in range(self.depth + 1))


@dataclass(frozen=True)
class VAEConfig(VariationalConfig):
    """Size and options of a `VAE`."""

    latent: int = 32
    """Latent channels of the grid, or length of the latent vector."""
    latent_shape: LatentShape = "vector"
    """A grid of latent numbers, or one vector an image."""
    size: tuple[int, ...] = (32, 32)
    """Samples of an image along each axis."""

    def build(self) -> "VAE":
        return VAE(self)


class Encoder(nn.Module):
    """Convolutions and halvings: the features of every level, full resolution first."""

    config: VariationalConfig

    @nn.compact
    def __call__(self, x: Features, *, train: bool) -> list[Features]:
        config = self.config
        x = pad_to_multiple(x, 2**config.depth).astype(config.dtype)
        levels: list[Features] = []
        for level, width in enumerate(config.widths):
            for i in range(config.convs_per_level):
                stride = 2 if level and i == 0 else 1
                x = ConvUnit(width, stride=stride, norm=config.norm, dtype=config.dtype)(
                    x, train=train
                )
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Doublings and convolutions, with the encoder's features joined in where they are given.

    The result has `out_channels` channels in float32 and is as large as the padded image.
    """

    config: VariationalConfig
    zero: bool = False
    """Starts from an image of zeros, as the residual of another image does."""

    @nn.compact
    def __call__(self, h: Features, skips: Sequence[Features], *, train: bool) -> Features:
        config, dims = self.config, spatial_dims(h)
        for level in reversed(range(config.depth)):
            width = config.widths[level]
            h = Upsample(width, config.upsample, config.norm, config.dtype)(h, train=train)
            if skips:
                h = jnp.concatenate([h, skips[level]], axis=-1)
            for _ in range(config.convs_per_level):
                h = ConvUnit(width, norm=config.norm, dtype=config.dtype)(h, train=train)
        start = nn.initializers.zeros if self.zero else nn.initializers.lecun_normal()
        last = Conv(
            config.out_channels, (3,) * dims, dtype=jnp.dtype(config.dtype), kernel_init=start
        )
        return last(h).astype(jnp.float32)


def crop(image: Features, space: Sequence[int]) -> Features:
    """The first `space` samples along each spatial dimension; undoes the padding."""
    return image[:, *(slice(n) for n in space)]


class VAE(nn.Module):
    """Unconditional autoencoder of images of one size, from which new images can be drawn.

    `network(degraded)` encodes an image `[batch, *config.size, channel]` and decodes the
    posterior's mean: the nearest image that the model knows. Channels after the first
    `out_channels` are left out.

    The posteriors' means are normalised over the batch, with a learned scale and no offset (Zhu et
    al., "A batch normalized inference network keeps the KL vanishing away", ACL 2020): else the
    decoder takes their common offset for a bias, and samples of the prior, which has none, decode
    to nothing.

    Raises:
        ValueError: images of another size.
    """

    config: VAEConfig = VAEConfig()

    def setup(self) -> None:
        config = self.config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.centre = nn.BatchNorm(momentum=0.9, use_bias=False, scale_init=near_one)
        if config.latent_shape == "vector":
            self.posterior = nn.Dense(2 * config.latent, kernel_init=near_prior)
            self.spread = nn.Dense(int(np.prod(self.grid)) * config.widths[-1])
        else:
            self.posterior = Conv(
                2 * config.latent, (1,) * len(config.size), kernel_init=near_prior
            )
            self.spread = Conv(config.widths[-1], (1,) * len(config.size))

    @property
    def grid(self) -> tuple[int, ...]:
        """Samples of the deepest features along each axis."""
        return tuple(-(-n // 2**self.config.depth) for n in self.config.size)

    def encode(self, image: Features, *, train: bool = False) -> Gaussian:
        """The posterior of an image."""
        config = self.config
        if image.shape[1:-1] != tuple(config.size):
            raise ValueError(f"this VAE knows images of {config.size}, not {image.shape[1:-1]}")
        deep = self.encoder(image[..., : config.out_channels], train=train)[-1]
        if config.latent_shape == "vector":
            deep = deep.reshape(len(deep), -1)
        found = bounded_gaussian(self.posterior(equalised(deep)))
        return found._replace(mean=self.centre(found.mean, use_running_average=not train))

    def decode(
        self, latent: Float[Array, "batch *latent"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        """The image of a latent."""
        h = self.spread(latent).reshape(len(latent), *self.grid, self.config.widths[-1])
        image = self.decoder(activate(h).astype(self.config.dtype), (), train=train)
        return crop(image, self.config.size)

    def __call__(self, degraded: Features, *, train: bool = False) -> Features:
        return self.decode(self.encode(degraded, train=train).mean, train=train)

    def reconstruct(
        self, degraded: Features, clean: Features, *, train: bool = False
    ) -> Reconstruction:
        """Encodes and decodes `clean`; of `degraded` nothing is used."""
        del degraded
        posterior = self.encode(clean, train=train)
        image = self.decode(posterior.sample(self.make_rng("latent")), train=train)
        return Reconstruction(image, posterior, standard_normal_like(posterior), None)

    def draw(self, degraded: Features) -> Features:
        """An image decoded from a sample of the posterior."""
        return self.decode(self.encode(degraded).sample(self.make_rng("latent")))

    def generate(self, count: int) -> Float[Array, "count *space out"]:
        """New images, decoded from samples of the prior."""
        config = self.config
        leading = () if config.latent_shape == "vector" else self.grid
        latent = jax.random.normal(self.make_rng("latent"), (count, *leading, config.latent))
        return self.decode(latent)
