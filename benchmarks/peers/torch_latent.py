"""medjax's variational autoencoders in PyTorch, layer for layer; samples' noise is given."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.torch_layers import (
    SLOPE,
    ConvUnit,
    Named,
    NoPeerError,
    Upsample,
    conv,
    padded,
)
from medjax.models.cvae import CVAEConfig
from medjax.models.latent import LOG_VARIANCE_BOUND
from medjax.models.vae import VAEConfig, VariationalConfig


class Gaussian(NamedTuple):
    """A diagonal normal distribution."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        return self.mean + torch.exp(self.log_variance / 2) * noise


class Reconstruction(NamedTuple):
    """As medjax.models.latent.Reconstruction; no prior is the standard normal."""

    image: torch.Tensor
    posterior: Gaussian
    prior: Gaussian | None
    restored: torch.Tensor | None


class Encoder(Named):
    """medjax.models.vae.Encoder."""

    def __init__(self, config: VariationalConfig, dims: int, channels: int):
        super().__init__()
        self.depth, self.levels = config.depth, []
        for level, width in enumerate(config.widths):
            units = []
            for i in range(config.convs_per_level):
                stride = 2 if level and i == 0 else 1
                unit = ConvUnit(dims, channels, width, norm=config.norm, stride=stride)
                units.append(self.child("ConvUnit", unit))
                channels = width
            self.levels.append(units)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        h, found = padded(x, 2**self.depth), []
        for units in self.levels:
            for unit in units:
                h = unit(h)
            found.append(h)
        return found


class Decoder(Named):
    """medjax.models.vae.Decoder."""

    def __init__(self, config: VariationalConfig, dims: int, skips: bool):
        super().__init__()
        self.up, self.fill = [], []
        for level in reversed(range(config.depth)):
            width = config.widths[level]
            up = Upsample(dims, config.widths[level + 1], width, config.norm, config.upsample)
            self.up.append(self.child("Upsample", up))
            units, channels = [], 2 * width if skips else width
            for _ in range(config.convs_per_level):
                unit = ConvUnit(dims, channels, width, norm=config.norm)
                units.append(self.child("ConvUnit", unit))
                channels = width
            self.fill.append(units)
        self.out = self.child("Conv", conv(dims, config.widths[0], config.out_channels, 3))

    def forward(self, h: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        for i, (up, units) in enumerate(zip(self.up, self.fill, strict=True)):
            h = up(h)
            if skips:
                h = torch.cat([h, skips[-1 - i]], 1)
            for unit in units:
                h = unit(h)
        return self.out(h).float()


class LatentHead(Named):
    """medjax.models.cvae.LatentHead."""

    def __init__(self, config: VariationalConfig, dims: int):
        super().__init__()
        self.vector = config.latent_shape == "vector"
        self.conv = self.child("Conv", conv(dims, config.widths[-1], 2 * config.latent, 1))

    def forward(self, deep: torch.Tensor) -> Gaussian:
        with torch.autocast(deep.device.type, enabled=False):
            h = deep.float() / math.sqrt(deep.shape[1])
            if self.vector:
                h = h.mean(dim=tuple(range(2, h.ndim)), keepdim=True)
            return bounded(self.conv(h))


def bounded(numbers: torch.Tensor) -> Gaussian:
    mean, spread = numbers.chunk(2, 1)
    return Gaussian(mean, LOG_VARIANCE_BOUND * torch.tanh(spread / LOG_VARIANCE_BOUND))


class CVAE(Named):
    """medjax.models.cvae.CVAE with a learned prior."""

    def __init__(self, config: CVAEConfig, dims: int, channels: int):
        super().__init__()
        if config.prior != "learned":
            raise NoPeerError("the peer has a learned prior")
        self.config = config
        self.condition = Encoder(config, dims, channels)
        self.recognition = Encoder(config, dims, channels + config.out_channels)
        self.posterior, self.prior = LatentHead(config, dims), LatentHead(config, dims)
        deep = config.widths[-1]
        self.join = ConvUnit(dims, deep + config.latent, deep, norm=config.norm)
        self.decoder = Decoder(config, dims, skips=True)

    def forward(self, degraded: torch.Tensor) -> torch.Tensor:
        levels = self.condition(degraded)
        return self._decode(self.prior(levels[-1]).mean, levels, degraded)

    def reconstruct(
        self, degraded: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor
    ) -> Reconstruction:
        levels = self.condition(degraded)
        prior = self.prior(levels[-1])
        posterior = self.posterior(self.recognition(torch.cat([degraded, clean], 1))[-1])
        latents = torch.cat([posterior.sample(noise), prior.mean])
        twice = [torch.cat([level, level]) for level in levels]
        images = self._decode(latents, twice, torch.cat([degraded, degraded]))
        image, restored = images.chunk(2)
        return Reconstruction(image, posterior, prior, restored)

    def _decode(self, latent, levels, degraded) -> torch.Tensor:
        deep = levels[-1]
        latent = latent.to(deep.dtype).expand(-1, -1, *deep.shape[2:])
        out = self.decoder(self.join(torch.cat([deep, latent], 1)), levels[:-1])
        out = _cropped(out, degraded.shape[2:])
        return (
            degraded[:, : self.config.out_channels].float() + out if self.config.residual else out
        )


class VAE(nn.Module):
    """medjax.models.vae.VAE with a latent vector."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        if config.latent_shape != "vector":
            raise NoPeerError("the peer has a latent vector")
        dims, deep = len(config.size), config.widths[-1]
        self.config = config
        self.grid = tuple(-(-n // 2**config.depth) for n in config.size)
        self.encoder = Encoder(config, dims, config.out_channels)
        self.decoder = Decoder(config, dims, skips=False)
        self.centre = nn.BatchNorm1d(config.latent)
        # medjax's has a scale and no offset.
        self.centre.bias.requires_grad_(False)
        self.posterior = nn.Linear(deep * math.prod(self.grid), 2 * config.latent)
        self.spread = nn.Linear(config.latent, deep * math.prod(self.grid))

    def forward(self, degraded: torch.Tensor) -> torch.Tensor:
        return self._decode(self._encode(degraded).mean)

    def reconstruct(
        self, degraded: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor
    ) -> Reconstruction:
        del degraded
        posterior = self._encode(clean)
        return Reconstruction(self._decode(posterior.sample(noise)), posterior, None, None)

    def _encode(self, image: torch.Tensor) -> Gaussian:
        deep = self.encoder(image[:, : self.config.out_channels])[-1]
        with torch.autocast(deep.device.type, enabled=False):
            # Features in medjax's order, of the image as medjax sees it.
            flat = _turned(deep).movedim(1, -1).flatten(1).float()
            found = bounded(self.posterior(flat / math.sqrt(flat.shape[1])))
            return found._replace(mean=self.centre(found.mean))

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        with torch.autocast(latent.device.type, enabled=False):
            flat = functional.leaky_relu(self.spread(latent), SLOPE)
        h = _turned(flat.unflatten(1, (*self.grid, -1)).movedim(-1, 1))
        return _cropped(self.decoder(h.contiguous(), []), self.config.size)


def _turned(x: torch.Tensor) -> torch.Tensor:
    """Its mirror image (torch_layers.py says why)."""
    return x.flip(tuple(range(2, x.ndim)))


def _cropped(x: torch.Tensor, space: tuple[int, ...]) -> torch.Tensor:
    """What was padded cut off, at the near ends."""
    return x[(..., *(slice(a - b, None) for a, b in zip(x.shape[2:], space, strict=True)))]
