"""medjax's networks in PyTorch, layer for layer, with their settings as medjax has them."""

import itertools

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.torch_layers import (
    ConvUnit,
    Named,
    NoPeerError,
    ResidualBlock,
    Upsample,
    conv,
    finished,
    padded,
)
from medjax.models.autoencoder import AutoencoderConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.rdae import RDAEConfig
from medjax.models.unet import UNetConfig


class Chain:
    """One module after the other; they belong to the network that made them."""

    def __init__(self, modules: list[nn.Module]):
        self.modules = modules

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for module in self.modules:
            x = module(x)
        return x


class UNet(Named):
    """medjax.models.unet.UNet, without attention, factors and residual levels."""

    def __init__(self, config: UNetConfig, dims: int, channels: int):
        super().__init__()
        if (config.level_block, config.attention, config.factorised) != ("plain", "none", False):
            raise NoPeerError("the peer is a U-Net of plain levels and skips")
        self.config = config
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.depth + 1)]

        def level(given: int, width: int, stride: int = 1) -> Chain:
            units = []
            for i in range(config.convs_per_level):
                unit = ConvUnit(
                    dims,
                    width if i else given,
                    width,
                    norm=config.norm,
                    stride=1 if i else stride,
                )
                units.append(self.child("ConvUnit", unit))
            return Chain(units)

        ends = [channels, *widths]
        self.down = [
            level(a, b, 2 if i else 1) for i, (a, b) in enumerate(itertools.pairwise(ends))
        ]
        self.up, self.join = [], []
        for given, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up = Upsample(dims, given, width, config.norm, config.upsample)
            self.up.append(self.child("Upsample", up))
            self.join.append(level(2 * width, width))
        blocks = [
            ResidualBlock(dims, widths[0], config.norm)
            for _ in range(config.full_resolution_blocks)
        ]
        self.last = Chain([self.child("ResidualBlock", block) for block in blocks])
        self.out = self.child("Conv", conv(dims, widths[0], config.out_channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = padded(x, 2**self.config.depth)
        skips = []
        for level in self.down:
            h = level(h)
            skips.append(h)
        h = skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            h = join(torch.cat([up(h), skips.pop()], 1))
        h = self.out(self.last(h))
        return finished(h, x, self.config.out_channels, self.config.residual)


class Autoencoder(Named):
    """medjax.models.autoencoder.Autoencoder."""

    def __init__(self, config: AutoencoderConfig, dims: int, channels: int):
        super().__init__()
        self.config, self.steps = config, []
        width, norm = config.width, config.norm

        def level(given: int, features: int, stride: int = 1) -> None:
            for i in range(config.convs_per_level):
                unit = ConvUnit(
                    dims, features if i else given, features, norm=norm, stride=1 if i else stride
                )
                self.steps.append(self.child("ConvUnit", unit))

        level(channels, width)
        for number in range(1, config.depth + 1):
            level(width * 2 ** (number - 1), width * 2**number, 2)
        for number in reversed(range(config.depth)):
            up = Upsample(dims, width * 2 ** (number + 1), width * 2**number, norm)
            self.steps.append(self.child("Upsample", up))
            level(width * 2**number, width * 2**number)
        self.out = self.child("Conv", conv(dims, width, config.out_channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = padded(x, 2**self.config.depth)
        for step in self.steps:
            h = step(h)
        return finished(self.out(h), x, self.config.out_channels, residual=False)


class DenseBlock(Named):
    """medjax.models.rdae.ResidualDenseBlock."""

    def __init__(self, dims: int, features: int, growth: int, layers: int, norm: str):
        super().__init__()
        self.layers = [
            self.child("ConvUnit", ConvUnit(dims, features + i * growth, growth, norm=norm))
            for i in range(layers)
        ]
        self.fuse = self.child("Conv", conv(dims, features + layers * growth, features, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x
        for layer in self.layers:
            seen = torch.cat([seen, layer(seen)], 1)
        return x + self.fuse(seen)


class RDAE(Named):
    """medjax.models.rdae.RDAE."""

    def __init__(self, config: RDAEConfig, dims: int, channels: int):
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(config.depth + 1)]

        def unit(given: int, features: int, stride: int = 1) -> nn.Module:
            layer = ConvUnit(dims, given, features, norm=config.norm, stride=stride)
            return self.child("ConvUnit", layer)

        def dense(level: int) -> list[nn.Module]:
            growth = config.growth * 2**level
            blocks = [
                DenseBlock(dims, widths[level], growth, config.layers, config.norm)
                for _ in range(config.blocks)
            ]
            return [self.child("ResidualDenseBlock", block) for block in blocks]

        self.shallow, self.first = unit(channels, widths[0]), unit(widths[0], widths[0])
        self.dense = [dense(0)]
        self.down = []
        for level in range(1, config.depth + 1):
            self.down.append(unit(widths[level - 1], widths[level], 2))
            self.dense.append(dense(level))
        self.up, self.fuse, self.again = [], [], []
        for level in reversed(range(config.depth)):
            up = Upsample(dims, widths[level + 1], widths[level], config.norm)
            self.up.append(self.child("Upsample", up))
            joined = widths[level] * (1 + config.blocks)
            self.fuse.append(self.child("Conv", conv(dims, joined, widths[level], 1)))
            self.again.append(dense(level))
        blocks = (2 if config.depth else 1) * config.blocks
        self.merge = self.child("Conv", conv(dims, blocks * widths[0], widths[0], 1))
        self.wide = self.child("Conv", conv(dims, widths[0], widths[0], 3))
        self.out = self.child("Conv", conv(dims, widths[0], config.out_channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given: list[list[torch.Tensor]] = [[] for _ in self.dense]

        def through(h: torch.Tensor, blocks: list[nn.Module], level: int) -> torch.Tensor:
            for block in blocks:
                h = block(h)
                given[level].append(h)
            return h

        shallow = self.shallow(padded(x, 2**self.config.depth))
        h = through(self.first(shallow), self.dense[0], 0)
        for level, down in enumerate(self.down, start=1):
            h = through(down(h), self.dense[level], level)
        for i, (up, fuse) in enumerate(zip(self.up, self.fuse, strict=True)):
            level = self.config.depth - 1 - i
            h = fuse(torch.cat([up(h), *given[level]], 1))
            h = through(h, self.again[i], level)
        h = self.wide(self.merge(torch.cat(given[0], 1)))
        return finished(self.out(shallow + h), x, self.config.out_channels, self.config.residual)


class PlainCNN(Named):
    """medjax.models.plain_cnn.PlainCNN."""

    def __init__(self, config: PlainCNNConfig, dims: int, channels: int):
        super().__init__()
        self.config, out = config, config.out_channels
        ends = [channels if config.conditions else out, *[config.width] * (config.layers - 1), out]
        self.layers = [self.child("Conv", conv(dims, a, b, 3)) for a, b in itertools.pairwise(ends)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x if self.config.conditions else x[:, : self.config.out_channels]
        for layer in self.layers[:-1]:
            h = functional.relu(layer(h), inplace=True)
        return finished(self.layers[-1](h), x, self.config.out_channels, self.config.residual)
