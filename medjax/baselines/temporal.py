"""Classical restoration of series of volumes: along time, and slice by slice.

Each takes a series [t, z, y, x], its noise level sigma and its parameters by name, and gives a
series in the same unit. `medjax.baselines.filters` wraps them.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Series = Float[np.ndarray, "t z y x"]

# Standard deviation of a normal variable over its median absolute deviation.
MAD = 1.4826


def temporal_median(series: Series, sigma: float, *, size: int) -> Series:
    """Median of `size` successive volumes in each voxel, mirrored at the ends; ignores sigma."""
    del sigma
    return ndimage.median_filter(series, size=(size, 1, 1, 1), mode="reflect")


def temporal_gaussian(series: Series, sigma: float, *, volumes: float) -> Series:
    """Gaussian smoothing over time with a standard deviation of `volumes`; ignores sigma."""
    del sigma
    return ndimage.gaussian_filter1d(series, volumes, axis=0, mode="reflect")


def despike(series: Series, sigma: float, *, threshold: float) -> Series:
    """Values farther than threshold·sigma from the running median of 5 become that median.

    A simple form of AFNI's 3dDespike, which fits a curve to each voxel instead.
    """
    smooth = ndimage.median_filter(series, size=(5, 1, 1, 1), mode="reflect")
    return np.where(np.abs(series - smooth) > threshold * sigma, smooth, series)


def lost_slices(series: Series, threshold: float) -> Bool[np.ndarray, "t z"]:
    """Slices whose mean lies more than `threshold` robust deviations under their own median.

    The deviation is the median absolute deviation over time of the slice's mean, and at least
    0.2 % of the mean: a slice that never changes is no reason to call noise a dropout.
    """
    mean = series.mean(axis=(2, 3))
    middle = np.median(mean, axis=0)
    spread = MAD * np.median(np.abs(mean - middle), axis=0)
    spread = np.maximum(spread, 0.002 * np.abs(middle))
    return mean < middle - threshold * spread


def slice_repair(series: Series, sigma: float, *, threshold: float) -> Series:
    """Lost slices are interpolated linearly between the nearest good volumes; ignores sigma.

    What outlier replacement does in diffusion MRI (Andersson et al., NeuroImage 2016), with
    time's neighbours as the prediction. A slice with no good volume stays.
    """
    del sigma
    lost = lost_slices(series, threshold)
    repaired = series.copy()
    time = np.arange(len(series))
    for z in np.flatnonzero(lost.any(axis=0) & ~lost.all(axis=0)):
        good = np.flatnonzero(~lost[:, z])
        for t in np.flatnonzero(lost[:, z]):
            after = int(np.searchsorted(good, t))
            a, b = good[max(after - 1, 0)], good[min(after, len(good) - 1)]
            share = 0.0 if a == b else (time[t] - a) / (b - a)
            repaired[t, z] = (1 - share) * series[a, z] + share * series[b, z]
    return repaired


def temporal_pca(series: Series, sigma: float, *, strength: float) -> Series:
    """Principal components over time, those above what noise alone makes, plus the mean.

    White noise of a matrix of t volumes by n voxels has no singular value over
    sigma (sqrt(t) + sqrt(n)), the edge of Marchenko and Pastur (Veraart et al., NeuroImage
    2016, cut patches the same way); `strength` multiplies it. Voxels of the background (mean
    under a tenth of the 98th percentile) stay out of the decomposition, as their noise is less.
    """
    mean = series.mean(axis=0)
    body = mean > 0.1 * np.percentile(mean, 98)
    values = series[:, body].astype(np.float64)
    centre = values.mean(axis=0)
    left, size, right = np.linalg.svd(values - centre, full_matrices=False)
    edge = strength * sigma * (np.sqrt(len(values)) + np.sqrt(values.shape[1]))
    kept = size > edge
    out = np.broadcast_to(mean, series.shape).copy()
    out[:, body] = centre + (left[:, kept] * size[kept]) @ right[kept]
    return out.astype(series.dtype)


def repair_and_pca(series: Series, sigma: float, *, threshold: float, strength: float) -> Series:
    """`slice_repair`, then `temporal_pca`: a dropout would be a component of its own."""
    return temporal_pca(slice_repair(series, sigma, threshold=threshold), sigma, strength=strength)
