"""VGG16 features: how far apart two images look to a network that was trained on photographs.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition",
arXiv:1409.1556. The weights are given, never trained; `medjax.weights.vgg16` loads them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from medjax.nn.conv import conv

# (block, convolution) and output channels, in order; a 2x2 maximum stands between blocks.
CONVOLUTIONS: dict[str, int] = {
    f"conv{block}_{i}": width
    for block, (count, width) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1
    )
    for i in range(1, count + 1)
}
LAYERS: tuple[str, ...] = tuple(name.replace("conv", "relu") for name in CONVOLUTIONS)
"""Names of the feature maps, shallow to deep: relu1_1, relu1_2, relu2_1, ... relu5_3."""


class ConvWeights(NamedTuple):
    """One convolution's weights."""

    kernel: Float32[np.ndarray, "3 3 channel_in features"]
    bias: Float32[np.ndarray, " features"]


class VGGWeights(NamedTuple):
    """The weights of a VGG16 and the input that they expect.

    NumPy arrays: they become constants of whatever is compiled, on any device or mesh, and are no
    part of a training state.
    """

    convolutions: Mapping[str, ConvWeights]
    """By name, conv1_1 first; the deep ones may be missing."""
    mean: tuple[float, float, float]
    """Subtracted from red, green and blue in [0, 1]."""
    std: tuple[float, float, float]
    """Then divided by."""


def check_layers(layers: Sequence[str]) -> None:
    """Raises ValueError where a name is none of `LAYERS`, comes twice, or there is none."""
    unknown = [name for name in layers if name not in LAYERS]
    if unknown or not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers {tuple(layers)}: give different names of {', '.join(LAYERS)}")


def smallest_side(layers: Sequence[str]) -> int:
    """Pixels a side below which the deepest of `layers` would be empty."""
    return 2 ** (max(int(name[4]) for name in layers) - 1)


def vgg16_features(
    weights: VGGWeights,
    images: Float[Array, "batch y x 3"],
    layers: Sequence[str] = LAYERS,
) -> dict[str, Float[Array, "batch y_l x_l features"]]:
    """The chosen feature maps, computed in float32 and no deeper than the deepest of them.

    Args:
      weights: from `medjax.weights.vgg16.load`.
      images: red, green and blue, [0, 1] being black to white; values may lie beyond. A side is
        halved before each block but the first, an odd last row or column dropped.
      layers: names of `LAYERS`.

    Raises:
      ValueError: a layer is unknown, its weights are missing, or the images do not fit.
    """
    check_layers(layers)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"VGG16 takes [batch, y, x, 3], got {images.shape}")
    if min(images.shape[1:3]) < smallest_side(layers):
        raise ValueError(
            f"{images.shape[1]} x {images.shape[2]} pixels are too few for {', '.join(layers)}: "
            f"at least {smallest_side(layers)} a side"
        )
    deepest = max(LAYERS.index(name) for name in layers)
    mean, std = (jnp.asarray(rgb, jnp.float32) for rgb in (weights.mean, weights.std))
    x = (images.astype(jnp.float32) - mean) / std
    features = {}
    for name in list(CONVOLUTIONS)[: deepest + 1]:
        if name not in weights.convolutions:
            raise ValueError(f"these weights end before {name}")
        if name.endswith("_1") and name != "conv1_1":
            x = _halve(x)
        kernel, bias = (jnp.asarray(w, jnp.float32) for w in weights.convolutions[name])
        x = jax.nn.relu(conv(x, kernel) + bias)
        features[name.replace("conv", "relu")] = x
    return {name: features[name] for name in layers}


def _halve(x: Float[Array, "batch y x c"]) -> Float[Array, "batch y_half x_half c"]:
    """Maximum of each 2x2 block."""
    # Not reduce_window: its gradient, select-and-scatter, is a slow loop on XLA's CPU backend.
    b, height, width, c = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(b, height // 2, 2, width // 2, 2, c), axis=(2, 4))
