"""RED-CNN: the residual encoder-decoder for low-dose CT (Chen et al., arXiv:1702.00288).

The layers are those of the paper. As in the field's benchmark (Eulig et al., ldct-benchmark), the
final ReLU can be left out, because images in a display window have values below it.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.base import NetworkConfig, check_lowest
from medjax.nn.blocks import Precision, spatial_dims
from medjax.nn.conv import Conv, ConvTranspose

_TAPS = 5
_LAYERS = 5


@dataclass(frozen=True)
class REDCNNConfig(NetworkConfig):
    """Size and options of a `REDCNN`; the defaults are the benchmark's."""

    width: int = 96
    """Channels of every layer but the last."""
    final_relu: bool = False
    """Cut the restored image off at 0, as the paper does; only for images that start there."""
    conditions: bool = False
    """Show the network all channels of its input; else only those that it restores."""
    out_channels: int = 1
    """Channels of the restored image."""
    dtype: Precision = "float32"
    """Type in which convolutions compute; parameters and output stay float32."""

    def __post_init__(self) -> None:
        check_lowest(self, width=1, out_channels=1)

    def build(self) -> "REDCNN":
        return REDCNN(self)


class REDCNN(nn.Module):
    """Five 5x5 convolutions without padding, five transposed ones, three shortcuts between them.

    Without padding each convolution takes 4 samples off every axis and each transposed one gives
    them back, so the image keeps its size; axes under 21 samples are lengthened by repeating
    the last. Takes `[batch, *space, channel]` with 2, 3 or 4 spatial dimensions (the paper has 2)
    and returns `[batch, *space, out_channels]` in float32.

    Weights start by He's rule and the last layer at zero, so an untrained network returns its
    input; the paper draws all from a normal distribution of standard deviation 0.01.

    Raises:
        ValueError: the rank is not 4, 5 or 6, or there are fewer channels than `out_channels`.
    """

    config: REDCNNConfig = REDCNNConfig()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channel"], *, train: bool = False
    ) -> Float[Array, "batch *space out"]:
        config = self.config
        dims, space = spatial_dims(x), x.shape[1:-1]
        if x.shape[-1] < config.out_channels:
            raise ValueError(
                f"RED-CNN restores {config.out_channels} channels, its input has {x.shape[-1]}"
            )
        window, dtype = (_TAPS,) * dims, jnp.dtype(config.dtype)
        smallest = _LAYERS * (_TAPS - 1) + 1
        lengths = [(0, 0), *((0, max(0, smallest - n)) for n in space), (0, 0)]
        wide = jnp.pad(x, lengths, mode="edge")
        image = wide[..., : config.out_channels]

        he = nn.initializers.he_normal()
        h = (wide if config.conditions else image).astype(dtype)
        shortcuts = [image.astype(dtype)]
        for layer in range(_LAYERS):
            h = Conv(config.width, window, padding="VALID", dtype=dtype, kernel_init=he)(h)
            h = nn.relu(h)
            if layer in (1, 3):
                shortcuts.append(h)
        for layer in range(_LAYERS):
            last = layer == _LAYERS - 1
            h = ConvTranspose(
                config.out_channels if last else config.width,
                window,
                padding="VALID",
                dtype=dtype,
                kernel_init=nn.initializers.zeros if last else he,
            )(h)
            if last:
                break
            h = nn.relu(h + shortcuts.pop() if layer in (0, 2) else h)
        y = image.astype(jnp.float32) + h.astype(jnp.float32)
        y = y[:, *(slice(n) for n in space)]
        return nn.relu(y) if config.final_relu else y
