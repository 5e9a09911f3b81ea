"""Does one method keep lesions more detectable than another? d' compared on the same regions.

Two methods that restored the same noisy slices err alike, so their difference is known far better
than either value: intervals of d' that overlap do not show that the methods are equal.
"""

import numpy as np
from jaxtyping import Float
from scipy import stats

from medjax.metrics.bootstrap import Interval
from medjax.metrics.ct_observer import Channels, Regions, channel_outputs, squared_distance


def detectability_difference(
    present: Regions,
    absent: Regions,
    baseline_present: Regions,
    baseline_absent: Regions,
    channels: Channels,
    *,
    level: float = 0.95,
) -> Interval:
    """d' of a method less that of a baseline, with the interval of the pairs.

    Both values are corrected for bias as in `medjax.metrics.ct_observer.detectability`. The
    standard error is the jackknife's (Efron, Tibshirani 1993, chapter 11): each region in turn is
    left out of both. The interval takes the difference for normal, which needs d' clearly above 0
    in both.

    Args:
      present: HU, from the method, with lesion.
      absent: without lesion.
      baseline_present: the same regions from the baseline, in the same order.
      baseline_absent: likewise.
      channels: the observer's.
      level: probability of the interval.

    Returns:
      Difference of the d', ends of the interval, and the number of regions.

    Raises:
      ValueError: the two do not have the same regions; else as `detectability`.
    """
    pairs = [
        np.stack([channel_outputs(regions, channels) for regions in both])
        for both in _paired((present, baseline_present), (absent, baseline_absent))
    ]
    with_lesion, without = pairs
    difference = _difference(with_lesion, without)
    variance = _jackknife(
        [
            _difference(np.delete(with_lesion, i, axis=1), without)
            for i in range(with_lesion.shape[1])
        ]
    ) + _jackknife(
        [_difference(with_lesion, np.delete(without, i, axis=1)) for i in range(without.shape[1])]
    )
    half = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(variance))
    cases = with_lesion.shape[1] + without.shape[1]
    return Interval(difference, difference - half, difference + half, cases)


def _paired(*pairs: tuple[Regions, Regions]) -> tuple[tuple[Regions, Regions], ...]:
    for ours, theirs in pairs:
        if np.shape(ours) != np.shape(theirs):
            raise ValueError(f"not the same regions: {np.shape(ours)} and {np.shape(theirs)}")
    return pairs


def _difference(
    with_lesion: Float[np.ndarray, "2 region channel"],
    without: Float[np.ndarray, "2 region channel"],
) -> float:
    ours, theirs = (
        np.sqrt(max(squared_distance(v1, v0)[1], 0.0))
        for v1, v0 in zip(with_lesion, without, strict=True)
    )
    return float(ours - theirs)


def _jackknife(left_out: list[float]) -> float:
    """Variance of an estimate from its values with one case left out."""
    values = np.array(left_out)
    return float((len(values) - 1) / len(values) * np.square(values - values.mean()).sum())
