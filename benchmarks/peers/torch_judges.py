"""medjax's discriminator and critic in PyTorch, layer for layer."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.torch_layers import SLOPE, ConvUnit, Named, conv
from medjax.models.critic import CriticConfig
from medjax.models.patchgan import PatchGANConfig


class PatchGAN(Named):
    """medjax.models.patchgan.PatchGAN."""

    def __init__(self, config: PatchGANConfig, dims: int, channels: int):
        super().__init__()
        self.layers = []
        for layer in range(config.layers + 1):
            features = config.width * 2 ** min(layer, 3)
            unit = ConvUnit(
                dims,
                channels,
                features,
                kernel=4,
                stride=2 if layer < config.layers else 1,
                norm="none" if layer == 0 else config.norm,
            )
            self.layers.append(self.child("ConvUnit", unit))
            channels = features
        self.out = self.child("Conv", conv(dims, channels, 1, 4, padding=1))

    def forward(self, condition: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        h = torch.cat([condition, image], 1)
        for layer in self.layers:
            h = layer(h)
        return self.out(h).float()


class Critic(Named):
    """medjax.models.critic.Critic, of images with `space` samples an axis."""

    def __init__(self, config: CriticConfig, space: tuple[int, ...], channels: int):
        super().__init__()
        dims, self.layers = len(space), []
        for stage in range(config.stages):
            for stride in (1, 2):
                features = config.width * 2**stage
                unit = ConvUnit(dims, channels, features, stride=stride)
                self.layers.append(self.child("ConvUnit", unit))
                channels = features
        count = channels
        for n in space:
            count *= -(-n // 2**config.stages)
        self.dense = self.child("Dense", nn.Linear(count, config.dense))
        self.score = self.child("Dense", nn.Linear(config.dense, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        h = image
        for layer in self.layers:
            h = layer(h)
        # Channels last, as medjax lays its features out.
        h = h.movedim(1, -1).flatten(1).float()
        return self.score(functional.leaky_relu(self.dense(h), SLOPE))[:, 0]
