"""Tasks whose network sees a window of values as [0, 1]."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.errors import UserError
from medjax.physics.noise_level import noise_level
from medjax.tasks.base import Task


class Windowed(Task):
    """Base of them: the window is shown in pictures, and PSNR refers to it.

    Values outside of it lie outside of [0, 1]; nothing is cut off. By default the network is told
    the noise level of its input too.
    """

    # A field of the subclasses, each of which gives it a place and a value; none of this class.
    window: tuple[float, float]

    def __post_init__(self) -> None:
        if self.window[0] >= self.window[1]:
            raise UserError(f"task.window: {self.window[0]} {self.window[1]} must rise")

    @property
    def display(self) -> tuple[float, float]:
        return self.window

    def encode(
        self, degraded: Float[Array, "batch *space 1"]
    ) -> Float[Array, "batch *space channel"]:
        scaled = self._scale(degraded)
        return jnp.concatenate([scaled, noise_level(scaled)], axis=-1)

    def decode(self, restored: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        low, high = self.window
        return restored * (high - low) + low

    def _scale(self, values: Array) -> Array:
        low, high = self.window
        return (values - low) / (high - low)
