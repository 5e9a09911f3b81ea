"""Perceptual distance of a restoration from its reference, by VGG16 features."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from medjax.losses.perceptual import FeatureSpace, feature_distance, feature_space
from medjax.losses.ssim import DataRange, normalised
from medjax.models.vgg import smallest_side
from medjax.weights import vgg16


def perceptual_distance(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
    black: DataRange = 0.0,
) -> Float[Array, " batch"]:
    """Distance of the VGG16 features of two images as displayed, 0 at equality; less is better.

    `medjax.losses.perceptual.feature_distance` at relu1_2, relu2_2 and relu3_3 with the bundled
    weights. It is not LPIPS and its values do not compare with LPIPS's. Of volumes and series,
    the mean over the slices along all axes but the last two.

    Args:
      restored: the image to judge.
      reference: the image taken as true.
      data_range: from black to white, one number or one a case; 400 for a 400 HU window.
      black: the value shown as black, likewise; -160 for a window of [-160, 240] HU. Values beyond
        black and white are clipped, as a display clips them.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ, data_range is not positive, the images are smaller than 4
        samples a side or have neither 1 nor 3 channels.
    """
    offset = jnp.asarray(black, jnp.float32)
    offset = offset.reshape(-1, *(1,) * (jnp.ndim(restored) - 1))
    a, b = (jnp.asarray(x) for x in (restored, reference))
    a, b = normalised(a - offset.astype(a.dtype), b - offset.astype(b.dtype), data_range)
    space = _space()
    least = smallest_side(tuple(space.factors))
    if a.ndim < 4 or min(a.shape[-3:-1]) < least:
        raise ValueError(f"needs [batch, ..., y, x, channel] of {least} a side, got {a.shape}")
    return _by_slice(jnp.clip(a, 0, 1), jnp.clip(b, 0, 1))


@functools.lru_cache(maxsize=1)
def _space() -> FeatureSpace:
    return feature_space(vgg16.load("bundled"))


@jax.jit
def _by_slice(a: Array, b: Array) -> Array:
    # Slice by slice: the features of a whole volume are 64 times as large as the volume.
    slices = (jnp.moveaxis(x.reshape(x.shape[0], -1, *x.shape[-3:]), 1, 0) for x in (a, b))
    distances = jax.lax.map(lambda pair: feature_distance(*pair, space=_space()), tuple(slices))
    return jnp.mean(distances, axis=0)
