"""What the description of a network is."""

import dataclasses

import flax.linen as nn


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Base of every network's settings; a subclass is a frozen dataclass of plain values."""

    def build(self) -> nn.Module:
        """The network: `network(degraded, train=bool) -> restored`."""
        raise NotImplementedError
