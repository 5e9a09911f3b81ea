"""medjax's attention network in PyTorch, layer for layer."""

import itertools

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.torch_layers import ConvUnit, Named, Upsample, conv, finished, padded
from benchmarks.peers.torch_networks import Chain
from medjax.models.attention_net import AttentionNetConfig


class SqueezeExcite(Named):
    """medjax.nn.attention.SqueezeExcite."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(4, channels // 4)
        self.down = self.child("Dense", nn.Linear(channels, hidden))
        self.up = self.child("Dense", nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.float().mean(dim=tuple(range(2, x.ndim)))
        weight = torch.sigmoid(self.up(functional.relu(self.down(mean))))
        return x * weight.to(x.dtype).view(*weight.shape, *(1,) * (x.ndim - 2))


class AttentionGate(nn.Module):
    """medjax.nn.attention.AttentionGate."""

    def __init__(self, dims: int, channels: int):
        super().__init__()
        features = max(1, channels // 2)
        self.skip = conv(dims, channels, features, 1)
        self.gating = conv(dims, channels, features, 1, bias=False)
        self.weight = conv(dims, features, 1, 1)

    def forward(self, skip: torch.Tensor, gating: torch.Tensor) -> torch.Tensor:
        compared = functional.relu(self.skip(skip) + self.gating(gating))
        return skip * torch.sigmoid(self.weight(compared))


class AttentionBlock(Named):
    """medjax.models.attention_net.AttentionBlock."""

    def __init__(self, dims: int, features: int):
        super().__init__()
        self.unit = self.child("ConvUnit", ConvUnit(dims, features, features))
        self.conv = self.child("Conv", conv(dims, features, features, 3))
        self.channels = self.child("SqueezeExcite", SqueezeExcite(features))
        self.positions = self.child("AttentionGate", AttentionGate(dims, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.positions(self.channels(self.conv(self.unit(x))), x)


class AttentionNet(Named):
    """medjax.models.attention_net.AttentionNet."""

    def __init__(self, config: AttentionNetConfig, dims: int, channels: int):
        super().__init__()
        self.config = config
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.depth + 1)]

        def refine(width: int) -> Chain:
            blocks = [AttentionBlock(dims, width) for _ in range(config.blocks)]
            return Chain([self.child("AttentionBlock", block) for block in blocks])

        self.shallow = self.child("ConvUnit", ConvUnit(dims, channels, widths[0]))
        self.refine, self.down = [], []
        for a, b in itertools.pairwise(widths):
            self.refine.append(refine(a))
            self.down.append(self.child("ConvUnit", ConvUnit(dims, a, b, stride=2)))
        self.deep = refine(widths[-1])
        self.up, self.fuse, self.again = [], [], []
        for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.up.append(self.child("Upsample", Upsample(dims, a, b)))
            self.fuse.append(self.child("Conv", conv(dims, 2 * b, b, 1)))
            self.again.append(refine(b))
        self.out = self.child("Conv", conv(dims, widths[0], config.out_channels, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = shallow = self.shallow(padded(x, 2**self.config.depth))
        skips = []
        for refine, down in zip(self.refine, self.down, strict=True):
            skips.append(refine(h))
            h = down(skips[-1])
        h = self.deep(h)
        for up, fuse, again in zip(self.up, self.fuse, self.again, strict=True):
            h = again(fuse(torch.cat([up(h), skips.pop()], 1)))
        h = self.out(shallow + h)
        return finished(h, x, self.config.out_channels, self.config.residual)
