"""Perceptual loss: the difference of two images' VGG16 features.

Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution",
arXiv:1603.08155. It is not LPIPS: no layer was calibrated on human judgements.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from medjax.losses.pixel import check_shapes
from medjax.losses.planes import over_planes
from medjax.models.vgg import VGGWeights, smallest_side, vgg16_features

LAYERS: Mapping[str, float] = {"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0}
"""Layers whose features are compared, and how much each counts."""
STANDARD_SIDE, STANDARD_STD = 64, 0.2


class FeatureSpace(NamedTuple):
    """In which features images are compared; constants of whatever is compiled."""

    weights: VGGWeights
    factors: Mapping[str, float]
    """What each layer's mean squared difference is multiplied by before they are added."""


def feature_space(weights: VGGWeights, layers: Mapping[str, float] = LAYERS) -> FeatureSpace:
    """A space in which each layer counts by its weight, whatever the scale of its features.

    VGG16's layers differ a hundredfold in mean square. Each is divided by what it has on one fixed
    picture with the 1/f spectrum of photographs; the weights then add up to one. So the distance
    of a picture from featureless grey is about 1, the same for every set of weights and layers.

    Args:
      weights: from `medjax.weights.vgg16.load`.
      layers: weight of each compared feature map.

    Raises:
      ValueError: no layer has a positive weight, or one is unknown or has no weights.
    """
    total = sum(layers.values())
    if not total > 0 or min(layers.values()) < 0:
        raise ValueError(f"layers {dict(layers)}: weights must not be negative, nor all 0")
    # Also where this is called while something is being traced.
    with jax.ensure_compile_time_eval():
        picture = _rgb(jnp.asarray(_standard_picture())[None, ..., None])
        features = vgg16_features(weights, picture, tuple(layers))
        scales = {name: float(jnp.mean(jnp.square(x))) for name, x in features.items()}
    return FeatureSpace(weights, {n: w / total / scales[n] for n, w in layers.items()})


def perceptual_loss(
    restored: Float[Array, "batch *space channel"],
    clean: Float[Array, "batch *space channel"],
    *,
    space: FeatureSpace,
    slices: int = 16,
) -> Float[Array, ""]:
    """Mean over the batch of `feature_distance`; of volumes and series, of slices of them.

    Values are not clipped: VGG16 takes what lies outside [0, 1] as darker than black or brighter
    than white, and its features grow with it. Where bone at 8 would rule the loss, bring it near
    first (`medjax.losses.window.soft_clip`).

    Args:
      restored: what the network gave, the display window being [0, 1].
      clean: what it should have given.
      space: from `feature_space`; constants, without gradient.
      slices: of volumes, most slices a case and step (see `planes.over_planes`).

    Raises:
      ValueError: the shapes differ or do not fit VGG16.
    """

    def loss(restored: Array, clean: Array) -> Array:
        return jnp.mean(feature_distance(restored, clean, space=space))

    smallest = smallest_side(tuple(space.factors))
    return over_planes(loss, restored, clean, slices=slices, smallest=smallest)


def feature_distance(
    restored: Float[Array, "batch y x channel"],
    clean: Float[Array, "batch y x channel"],
    *,
    space: FeatureSpace,
) -> Float[Array, " batch"]:
    """How far apart the features of 2-D images are: 0 at equality, about 1 for unlike images.

    The mean squared difference of the features at each layer, as in Johnson et al., in the units
    of `space`. Squares, because at equal MSE they make blur of 1.5 pixels and more dearer than
    white noise, and absolute differences do not (measured on skimage's camera and pydicom's CT).

    Args:
      restored: 1 channel (grey, given to red, green and blue alike) or 3; [0, 1] is the window.
      clean: the reference.
      space: from `feature_space`.

    Raises:
      ValueError: the shapes differ or do not fit VGG16.
    """
    check_shapes(restored, clean)
    layers = tuple(space.factors)
    # Two passes, not one of both: joining would move images between the devices of a sharded batch
    # and pull a gradient through the clean half in vain.
    features = vgg16_features(space.weights, _rgb(restored), layers)
    targets = vgg16_features(space.weights, lax.stop_gradient(_rgb(clean)), layers)
    terms = [
        factor * jnp.mean(jnp.square(features[name] - targets[name]), axis=(1, 2, 3))
        for name, factor in space.factors.items()
    ]
    return sum(terms[1:], start=terms[0])


def _rgb(x: Float[Array, "batch y x c"]) -> Float[Array, "batch y x 3"]:
    if x.shape[-1] not in (1, 3):
        raise ValueError(f"VGG16 takes 1 or 3 channels, got {x.shape[-1]}")
    return jnp.broadcast_to(x, (*x.shape[:-1], 3))


def _standard_picture() -> Float32[np.ndarray, "y x"]:
    """Grey 0.5 with a 1/f amplitude spectrum and random phases, always the same."""
    n = STANDARD_SIDE
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
    frequency[0, 0] = np.inf
    white = np.random.default_rng(0).normal(size=(n, n))
    picture = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    return (0.5 + STANDARD_STD * picture / picture.std()).astype(np.float32)
