"""What the description of a network is."""

import dataclasses
import typing
from typing import Any

import flax.linen as nn


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Base of every network's settings; a subclass is a frozen dataclass of plain values."""

    def build(self) -> nn.Module:
        """The network: `network(degraded, train=bool) -> restored`."""
        raise NotImplementedError


def check_lowest(config: object, **lowest: int) -> None:
    """Raises ValueError where a field of the settings is below the number given for it."""
    for field, bound in lowest.items():
        if getattr(config, field) < bound:
            raise ValueError(f"{type(config).__name__}.{field} must be at least {bound}")


def check_kinds(config: object, **kinds: Any) -> None:
    """Raises ValueError where a field of the settings is none of the `Literal` given for it."""
    for field, literal in kinds.items():
        known, value = typing.get_args(literal), getattr(config, field)
        if value not in known:
            name = f"{type(config).__name__}.{field}"
            raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")
