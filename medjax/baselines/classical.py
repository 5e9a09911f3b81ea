"""The filters themselves, by scikit-image and SciPy, and the blind noise level they need.

Each takes one case `[*space]` in HU, the noise level sigma in HU and its parameters by name, and
gives an image in HU. `medjax.baselines.filters` wraps them with parameters and tuning.
"""

import itertools

import numpy as np
from jaxtyping import Float
from scipy import ndimage, stats
from skimage import exposure, restoration

from medjax.metrics.ct import tile_variances

Image = Float[np.ndarray, "*space"]

# Everything but air and lung.
BODY_ABOVE = -500.0


def estimate_sigma(image: Image) -> float:
    """Standard deviation of the noise in the body, in HU, blind; correlated noise included.

    Each slice is cut into tiles of 15² pixels, and the variance about the best plane is taken in
    every tile that lies in the body (over -500 HU; anywhere where there is no such tile). The
    lower quartile of these variances, divided by its bias for normal noise, is the answer: most
    tiles hold anatomy, enough hold none. After Christianson et al., "Automated technique to
    measure noise in clinical CT examinations", AJR 2015.

    The usual estimate, from the finest wavelet band (`skimage.restoration.estimate_sigma`), is
    right for white noise but finds a quarter of the truth after a Hann filter. 0 for a constant
    image.
    """
    image = np.asarray(image, dtype=np.float32)
    plane_only = (0.0,) * (image.ndim - 2) + (2.0, 2.0)
    body = ndimage.gaussian_filter(image, plane_only, mode="nearest") > BODY_ABOVE
    tile = min(15, *image.shape[-2:])
    variances, freedom = tile_variances(image, body, tile=tile, filled=1.0)
    if not len(variances):
        variances, freedom = tile_variances(image, np.ones_like(body), tile=tile, filled=1.0)
    # Padding is constant and has no noise to measure.
    noisy = variances[variances > 1e-6]
    if not len(noisy):
        return 0.0
    bias = stats.chi2.ppf(0.25, freedom) / freedom
    return float(np.sqrt(np.quantile(noisy, 0.25) / bias))


def median(image: Image, sigma: float, *, size: int) -> Image:
    """Median over a square (2-D) or cube (3-D) of `size` samples a side; ignores sigma."""
    del sigma
    return ndimage.median_filter(image, size=size, mode="nearest")


def equalise(image: Image, sigma: float, *, low: float, high: float) -> Image:
    """Histogram equalisation between `low` and `high` HU; ignores sigma.

    The cumulative histogram (256 bins) of the samples inside the window becomes the grey level
    and is stretched over the window; samples outside go to its ends and do not count, or air
    would fill half of the histogram. The output has HU's *range* but no longer its meaning. An
    image without two values inside the window comes back clipped.
    """
    del sigma
    clipped = np.clip(image, low, high)
    inside = (image > low) & (image < high)
    if not inside.any() or np.ptp(image[inside]) == 0:
        return clipped
    grey = exposure.equalize_hist(clipped, nbins=256, mask=inside)
    return low + (high - low) * np.where(image <= low, 0, grey)


def clahe(
    image: Image, sigma: float, *, low: float, high: float, clip_limit: float, tiles: int
) -> Image:
    """Contrast-limited adaptive histogram equalisation between `low` and `high` HU.

    Zuiderveld, Graphics Gems IV, 1994. The image is clipped to the window, equalised in `tiles`
    tiles an axis and mapped back so that its lowest and highest HU stay where they were; in
    between, HU lose their meaning. A constant image comes back clipped. Ignores sigma.
    """
    del sigma
    clipped = np.clip(image, low, high)
    floor, height = float(clipped.min()), float(np.ptp(clipped))
    if height == 0:
        return clipped
    kernel = [max(n // tiles, 1) for n in image.shape]
    unit = (clipped - floor) / height
    equal = exposure.equalize_adapthist(unit, kernel_size=kernel, clip_limit=clip_limit)
    return floor + height * equal


def bilateral(image: Image, sigma: float, *, strength: float, radius: float) -> Image:
    """Bilateral filter (Tomasi and Manduchi, ICCV 1998), 2-D only.

    Args:
      image: one slice in HU.
      sigma: noise level in HU; at 0 the image comes back as it is.
      strength: the intensity kernel's standard deviation is strength·sigma HU.
      radius: the space kernel's standard deviation in pixels.
    """
    if sigma == 0:
        return image
    return (
        restoration.denoise_bilateral(
            image - image.min(), sigma_color=strength * sigma, sigma_spatial=radius, mode="edge"
        )
        + image.min()
    )


def total_variation(image: Image, sigma: float, *, strength: float) -> Image:
    """Total-variation denoising (Chambolle, JMIV 2004) with weight strength·sigma."""
    if sigma == 0:
        return image
    return restoration.denoise_tv_chambolle(image, weight=strength * sigma)


def nonlocal_means(image: Image, sigma: float, *, strength: float, patch: int, reach: int) -> Image:
    """Non-local means (Buades, Coll, Morel, CVPR 2005) in the fast form of Darbon et al. 2008.

    Args:
      image: `[*space]` in HU.
      sigma: noise level in HU, taken off the patch distances.
      strength: the decay h is strength·sigma.
      patch: side of the compared patches in samples.
      reach: how many samples away patches are looked for.
    """
    if sigma == 0:
        return image
    return restoration.denoise_nl_means(
        image,
        patch_size=patch,
        patch_distance=reach,
        h=strength * sigma,
        sigma=sigma,
        fast_mode=True,
        preserve_range=True,
    )


def wavelet(image: Image, sigma: float, *, strength: float, rule: str, spins: int) -> Image:
    """Soft thresholding of the db2 wavelet transform, averaged over shifts of the image.

    Args:
      image: `[*space]` in HU.
      sigma: noise level in HU.
      strength: the rule is told a noise level of strength·sigma.
      rule: "BayesShrink" (Chang, Yu, Vetterli, IEEE TIP 2000), one threshold a subband, or
        "VisuShrink" (Donoho and Johnstone 1994), one for all: where air beside bone fills the
        subbands with edges, BayesShrink hardly touches the noise.
      spins: shifts tried along each axis, spins^axes in all (cycle spinning: Coifman and Donoho,
        1995); 1: none.
    """
    if sigma == 0:
        return image
    total = np.zeros_like(image)
    shifts = list(itertools.product(range(spins), repeat=image.ndim))
    axes = tuple(range(image.ndim))
    for shift in shifts:
        moved = restoration.denoise_wavelet(
            np.roll(image, shift, axes),
            sigma=strength * sigma,
            wavelet="db2",
            method=rule,
            rescale_sigma=False,
        )
        total += np.roll(moved, tuple(-s for s in shift), axes)
    return total / len(shifts)
