"""A network that says how far off each of its samples may be."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig
from medjax.models.unet import UNetConfig

# Of an untrained network, in the network's units: a fiftieth of the window.
START = 0.02
# Where nothing is ever wrong, as in padding, a likelihood without a floor has no bound.
FLOOR = 1e-3


@dataclasses.dataclass(frozen=True)
class WithSpreadConfig(NetworkConfig):
    """A network for the method `Heteroscedastic`: `inner` with a log scale beside each channel."""

    inner: NetworkConfig = UNetConfig()
    """The network that restores: one whose settings have `out_channels`, as one channel."""

    def __post_init__(self) -> None:
        if "out_channels" not in {field.name for field in dataclasses.fields(self.inner)}:
            raise ValueError(
                f"WithSpreadConfig.inner: {type(self.inner).__name__} has no out_channels to "
                "double; give UNetConfig, RDAEConfig or AttentionNetConfig"
            )

    def build(self) -> "WithSpread":
        channels: int = self.inner.out_channels  # pyright: ignore[reportAttributeAccessIssue]
        doubled = dataclasses.replace(self.inner, out_channels=2 * channels)  # pyright: ignore
        return WithSpread(doubled.build(), channels)


class WithSpread(nn.Module):
    """`[batch, *space, d]` to `[batch, *space, 2 * channels]`: restored, then log scales.

    `inner` sees zeros after the image's channels, so that a residual network adds its input to
    the restored channels alone. Scales start at `START` and stay above `FLOOR`.
    """

    inner: nn.Module
    channels: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space d"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        image, conditions = x[..., : self.channels], x[..., self.channels :]
        wide = jnp.concatenate([image, jnp.zeros_like(image), conditions], axis=-1)
        out = self.inner(wide, train=train)
        raw = out[..., self.channels :] + math.log(START - FLOOR)
        log_scale = jnp.logaddexp(raw, jnp.full_like(raw, math.log(FLOOR)))
        return jnp.concatenate([out[..., : self.channels], log_scale], axis=-1)
