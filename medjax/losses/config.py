"""The losses against the clean image as settings of an experiment."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.losses.pixel import charbonnier, l1, l2

PixelLoss = Callable[[Float[Array, "batch *space c"], Float[Array, "batch *space c"]], Array]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Base of every loss's settings."""

    def build(self) -> PixelLoss:
        """`(restored, clean) -> scalar`, both as the network sees them: the window is [0, 1]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class L1(LossConfig):
    """Mean absolute error."""

    def build(self) -> PixelLoss:
        return l1


@dataclasses.dataclass(frozen=True)
class L2(LossConfig):
    """Mean squared error."""

    def build(self) -> PixelLoss:
        return l2


@dataclasses.dataclass(frozen=True)
class Charbonnier(LossConfig):
    """Smooth L1.

    Attributes:
      epsilon: width of the rounded tip, as a fraction of the window.
    """

    epsilon: float = 1e-3

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            return charbonnier(restored, clean, epsilon=self.epsilon)

        return loss


@dataclasses.dataclass(frozen=True)
class WindowedL1(LossConfig):
    """L1 that spends itself on the values that are read, and keeps the rest honest.

    Bone and air span ten times the soft-tissue window; plain L1 would fit their edges first.

    Attributes:
      low: lower end of what counts in full; the display window is [0, 1].
      high: upper end of it.
      outside: weight of the plain L1 over all values, added to keep bone and lung right.
    """

    low: float = -0.1
    high: float = 1.1
    outside: float = 0.1

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            inside = l1(
                jnp.clip(restored, self.low, self.high), jnp.clip(clean, self.low, self.high)
            )
            return inside + self.outside * l1(restored, clean)

        return loss
