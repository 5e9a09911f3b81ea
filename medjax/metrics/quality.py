"""Image quality against a reference: one value a case, any number of space dimensions.

All take `[batch, *space, channel]` and give `[batch]`, can be jitted, and never guess the data
range: 400 for images in a 400 HU window, 1 for images in [0, 1]. NaN in an image gives NaN.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from medjax.losses import ssim as _ssim
from medjax.losses.ssim import DataRange, case_mean, normalised

PSNR_CEILING = 120.0


def mse(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
) -> Float[Array, " batch"]:
    """Mean squared error, in the images' unit squared.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ.
    """
    a, b = normalised(restored, reference, 1.0)
    return case_mean(jnp.square(a - b))


def rmse(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
) -> Float[Array, " batch"]:
    """Root of the mean squared error, in the images' unit; errors as `mse`."""
    return jnp.sqrt(mse(restored, reference))


def mae(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
) -> Float[Array, " batch"]:
    """Mean absolute error, in the images' unit; errors as `mse`."""
    a, b = normalised(restored, reference, 1.0)
    return case_mean(jnp.abs(a - b))


def nrmse(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
) -> Float[Array, " batch"]:
    """Root mean squared error as a fraction of the data range; errors as `psnr`."""
    a, b = normalised(restored, reference, data_range)
    return rmse(a, b)


def psnr(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
) -> Float[Array, " batch"]:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range² / MSE), at most `PSNR_CEILING`.

    Equal images give the ceiling of 120 dB, an error of a millionth of the range, which float32
    images hardly resolve; infinity would swallow every mean over cases.

    Args:
      restored: the image to judge.
      reference: the image taken as true.
      data_range: largest minus smallest possible value, one number or one a case.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ or data_range is not positive.
    """
    a, b = normalised(restored, reference, data_range)
    return -10 * jnp.log10(jnp.maximum(mse(a, b), 10 ** (-PSNR_CEILING / 10)))


def ssim(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
) -> Float[Array, " batch"]:
    """Mean structural similarity (Wang et al. 2004) with a Gaussian window of sigma 1.5.

    Equals scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=...)` in 2-D and 3-D.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ, data_range is not positive, or an image is smaller than the
        window of 11 samples an axis.
    """
    return _ssim.ssim(restored, reference, data_range=data_range)


def ms_ssim(
    restored: Float[ArrayLike, "batch *space channel"],
    reference: Float[ArrayLike, "batch *space channel"],
    *,
    data_range: DataRange,
) -> Float[Array, " batch"]:
    """Mean multi-scale SSIM (Wang et al. 2003) over five scales, 161 samples an axis or more.

    Raises:
      TypeError: the images are not floating point.
      ValueError: the shapes differ, data_range is not positive, or an image is too small.
    """
    return _ssim.ms_ssim(restored, reference, data_range=data_range)
