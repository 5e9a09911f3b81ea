"""Mean over cases with its bootstrap interval, and the difference of two methods.

Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 14 (BCa). On the host.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Interval(NamedTuple):
    """A mean and the interval around it.

    Attributes:
      mean: over all cases.
      low: lower end; NaN where there are too few cases or groups for an interval.
      high: upper end, likewise.
      cases: how many values went in.
    """

    mean: float
    low: float
    high: float
    cases: int


def mean_interval(
    values: Sequence[float] | Float[np.ndarray, " cases"],
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """Mean and bias-corrected, accelerated (BCa) bootstrap interval over cases.

    Slices of one patient are not independent: with `groups` whole patients are drawn, and the
    interval is honest about how few there are. Under some ten cases (or groups) every bootstrap
    interval is too narrow, and one case has none. The same seed gives the same interval.

    Args:
      values: one number a case.
      groups: whom each case belongs to, for example the subject of each slice; None: every case
        stands alone.
      level: probability that the interval is meant to have.
      resamples: bootstrap samples drawn.
      seed: of the draws.

    Raises:
      ValueError: there are no values, one is not finite (leave out or explain a failed case: do
        not average over it), groups has another length, or level is not between 0 and 1.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size:
        raise ValueError(f"values must be one number a case, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(numbers))} values are not finite")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if groups is not None and len(groups) != len(numbers):
        raise ValueError(f"{len(groups)} groups for {len(numbers)} values")
    sums, counts = _totals(numbers, groups)
    mean = float(numbers.mean())
    if len(sums) < 2:
        return Interval(mean, float("nan"), float("nan"), len(numbers))
    draws = _draws(sums, counts, resamples, np.random.default_rng(seed))
    low, high = _bca(draws, mean, _left_out(sums, counts), level)
    return Interval(mean, low, high, len(numbers))


def difference_interval(
    values: Sequence[float] | Float[np.ndarray, " cases"],
    baseline: Sequence[float] | Float[np.ndarray, " cases"],
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """Mean of `values` minus `baseline` on the same cases, with its interval.

    Pairing takes out how hard each case is: two methods may differ clearly although their own
    intervals overlap. An interval that holds 0 shows no difference. Arguments and errors as
    `mean_interval`, and ValueError where the two have different lengths.
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"not the same cases: {a.shape} and {b.shape}")
    return mean_interval(a - b, groups=groups, level=level, resamples=resamples, seed=seed)


def _totals(
    numbers: np.ndarray, groups: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of the values of each group."""
    if groups is None:
        return numbers, np.ones_like(numbers)
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    where = [index[group] for group in groups]
    return np.bincount(where, numbers), np.bincount(where).astype(np.float64)


def _draws(
    sums: np.ndarray, counts: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    # How often each group is drawn is all that a mean needs, and takes no resamples × groups
    # table of indices.
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    return (times @ sums) / (times @ counts)


def _left_out(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return (sums.sum() - sums) / (counts.sum() - counts)


def _bca(draws: np.ndarray, mean: float, left_out: np.ndarray, level: float) -> tuple[float, float]:
    centred = left_out.mean() - left_out
    spread = np.square(centred).sum()
    # Equal values up to rounding: no spread, so the interval is the mean itself.
    if spread <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return mean, mean
    acceleration = (centred**3).sum() / (6 * spread**1.5)
    # Half of the ties count, or a discrete bootstrap distribution reads as biased.
    under = (np.count_nonzero(draws < mean) + np.count_nonzero(draws <= mean)) / 2
    share = np.clip(under / len(draws), 1 / len(draws), 1 - 1 / len(draws))
    bias = stats.norm.ppf(share)
    ends = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    shares = stats.norm.cdf(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(draws, shares)
    return float(low), float(high)
