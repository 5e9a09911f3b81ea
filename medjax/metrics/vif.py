"""Visual information fidelity: how much of what the reference tells survives in the image."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from medjax.losses.ssim import DataRange, normalised, window_means

SCALES = 4
# The visual system's own noise, in grey values of 0 to 255.
NEURAL_VARIANCE = 2.0
SMALLEST = 41


def vif(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
) -> Float[Array, " batch"]:
    """VIF in the pixel domain (VIFp) of each case: 1 at equality, near 0 where nothing is left.

    Sheikh & Bovik, "Image information and visual quality", IEEE TIP 2006, in the authors' faster
    form that works on pixels at four scales instead of wavelet subbands. More contrast than the
    reference has gives more than 1. Slices of a volume (all axes but the last two) and channels
    are added up like the scales are: information kept in all of them over information there. A
    flat reference holds none, so nothing is lost: 1.

    Args:
      restored: the image to judge.
      reference: the image taken as true.
      data_range: largest minus smallest possible value, one number or one a case; it stands for
        the 255 grey values that the model of the eye was made for.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ, data_range is not positive, or a side of the slices has fewer
        than 41 samples.
    """
    a, b = normalised(restored, reference, data_range)
    if a.ndim < 4 or min(a.shape[-3:-1]) < SMALLEST:
        raise ValueError(f"vif needs [batch, ..., y, x, c] of {SMALLEST} a side, got {a.shape}")
    return _vif(a, b)


@jax.jit
def _vif(restored: Array, reference: Array) -> Array:
    b, height, width = restored.shape[0], *restored.shape[-3:-1]
    # All that VIFp compares are variances, and float32 loses them beside a large mean.
    offset = jnp.mean(reference, axis=(-3, -2), keepdims=True)
    planes = (jnp.moveaxis(255 * (x - offset), -1, 1) for x in (restored, reference))
    y, x = (p.reshape(b, -1, height, width) for p in planes)
    # What a flat reference is divided by; a millionth of one bit.
    kept, there = jnp.full(b, 1e-6), jnp.full(b, 1e-6)
    for scale in range(SCALES):
        taps = 2 ** (SCALES - scale) + 1
        means = functools.partial(window_means, axes=(2, 3), taps=taps, sigma=taps / 5)
        if scale > 0:
            x, y = (means(p)[..., ::2, ::2] for p in (x, y))
        mean_x, mean_y = means(x), means(y)
        # Tiny variances may come out negative in rounding.
        var_x = jnp.maximum(means(x * x) - mean_x**2, 0)
        var_y = jnp.maximum(means(y * y) - mean_y**2, 0)
        covariance = means(x * y) - mean_x * mean_y
        # The distortion's model: y = gain x + noise; against the contrast it carries nothing.
        gain = jnp.maximum(covariance / (var_x + 1e-10), 0)
        noise = jnp.maximum(jnp.where(gain > 0, var_y - gain * covariance, var_y), 1e-10)
        kept += jnp.sum(jnp.log2(1 + gain**2 * var_x / (noise + NEURAL_VARIANCE)), (1, 2, 3))
        there += jnp.sum(jnp.log2(1 + var_x / NEURAL_VARIANCE), (1, 2, 3))
    return kept / there
