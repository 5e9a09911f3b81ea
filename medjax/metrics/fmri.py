"""What an fMRI series is good for: stability over time, and the time courses of its voxels.

Series are [t, z, y, x] on the host; `brain` [z, y, x] says which voxels count.
"""

import numpy as np
from jaxtyping import Bool, Float

Series = Float[np.ndarray, "t z y x"]
Brain = Bool[np.ndarray, "z y x"]

TSNR_CEILING = 1000.0


def brain_mask(series: Series) -> Brain:
    """Voxels whose mean over time exceeds half of its 98th percentile."""
    mean = series.mean(axis=0)
    return mean > 0.5 * np.percentile(mean, 98)


def brain_signal(series: Series) -> float:
    """Mean signal of the brain: what 100 % means. 1 for a series without any signal."""
    brain = brain_mask(series)
    level = float(series[:, brain].mean()) if brain.any() else 0.0
    return level if level > 0 else 1.0


def tsnr(series: Series, brain: Brain) -> float:
    """Temporal signal-to-noise ratio: median over the brain of mean / standard deviation in time.

    Large is not good by itself: a series without any activity has the largest, given as
    `TSNR_CEILING`.
    """
    values = series[:, brain].astype(np.float64)
    mean, spread = values.mean(0), values.std(0)
    return float(np.median(mean / np.maximum(spread, np.abs(mean) / TSNR_CEILING + 1e-12)))


def dvars(series: Series, brain: Brain, signal: float = 1.0) -> float:
    """Root mean square change of the brain from volume to volume, in % of `signal`.

    Power et al., NeuroImage 2012; the mean over all volumes. NaN for a single volume.
    """
    if len(series) < 2:
        return float("nan")
    change = np.diff(series[:, brain].astype(np.float64), axis=0)
    return float(100 * np.sqrt(np.mean(change**2, axis=1)).mean() / signal)


def rmse_percent(restored: Series, reference: Series, brain: Brain) -> float:
    """Root mean square error in the brain, in % of its mean signal."""
    error = (restored[:, brain] - reference[:, brain]).astype(np.float64)
    return float(100 * np.sqrt(np.mean(error**2)) / reference[:, brain].mean())


def time_correlation(restored: Series, reference: Series, brain: Brain) -> float:
    """Mean over the brain of the correlation of a voxel's time course with the true one.

    Voxels that are constant in the reference have no time course to find and do not count;
    a voxel that only the restoration holds constant counts 0. NaN where nothing is left.
    """
    a, b = (_centred(x[:, brain]) for x in (restored, reference))
    norms = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
    alive = norms[1] > 1e-5 * np.sqrt(len(b))
    if not alive.any():
        return float("nan")
    product = np.sum(a * b, axis=0)[alive]
    return float(np.mean(product / np.maximum(norms[0] * norms[1], 1e-12)[alive]))


def effect(
    series: Series, brain: Brain, regressor: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " voxels"]:
    """Least-squares height of `regressor` in each voxel's time course, with a straight drift.

    The general linear model of an activation study (Friston et al., HBM 1994), without its noise.

    Raises:
      ValueError: the regressor cannot be told from a straight line.
    """
    t = np.linspace(-1, 1, len(series))
    design = np.stack([regressor, np.ones_like(t), t], axis=1).astype(np.float64)
    if np.linalg.matrix_rank(design) < 3:
        raise ValueError("the regressor is constant or a straight line; more volumes are needed")
    fit, *_ = np.linalg.lstsq(design, series[:, brain].astype(np.float64), rcond=None)
    return fit[0]


def effect_correlation(
    restored: Series, reference: Series, brain: Brain, regressor: Float[np.ndarray, " t"]
) -> float:
    """Correlation over the brain of the `effect` maps of two series: is the activation there?"""
    a, b = (effect(x, brain, regressor) for x in (restored, reference))
    a, b = a - a.mean(), b - b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.sum(a * b) / scale) if scale > 0 else float("nan")


def _centred(values: Float[np.ndarray, "t voxels"]) -> Float[np.ndarray, "t voxels"]:
    values = values.astype(np.float64)
    return values - values.mean(0)
