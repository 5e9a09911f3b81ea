"""Whether a predicted standard deviation is as large as the errors are.

Kuleshov, Fenner & Ermon, arXiv:1807.00263 (intervals); Levi et al., arXiv:1905.11659 (bins, and one
factor found on other data).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from medjax.losses.likelihood import Law

LEVELS = (*(k / 10 for k in range(1, 10)), 0.95)
BINS = 10
Samples = Float[np.ndarray, " sample"]


def half_width(level: float, law: Law) -> float:
    """Half of the central interval that holds a share `level` of the law, in standard deviations.

    Raises:
      ValueError: the share is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"an interval holds a share between 0 and 1, not {level}")
    if law == "laplace":
        return -math.log1p(-level) / math.sqrt(2)
    return float(stats.norm.ppf((1 + level) / 2))


def coverage(
    error: Samples, std: Samples, law: Law, levels: tuple[float, ...] = LEVELS
) -> tuple[float, ...]:
    """The share of errors inside each central interval: the calibration curve.

    Args:
      error: restored - reference.
      std: predicted, in the error's unit.
      law: how errors are said to scatter.
      levels: nominal shares; where the prediction is right they are what is returned.
    """
    _check(error, std)
    return tuple(float(np.mean(np.abs(error) <= half_width(p, law) * std)) for p in levels)


class Reliability(NamedTuple):
    """Samples in bins of equal count by their predicted standard deviation, least first."""

    predicted: tuple[float, ...]
    """Root mean square of the predicted standard deviation."""
    found: tuple[float, ...]
    """Root mean square error."""


def reliability(error: Samples, std: Samples, bins: int = BINS) -> Reliability:
    """Predicted against found; where the prediction is right they are equal in every bin."""
    _check(error, std)
    order = np.argsort(std, kind="stable")
    groups = [group for group in np.array_split(order, bins) if group.size]
    return Reliability(
        tuple(_rms(std[group]) for group in groups), tuple(_rms(error[group]) for group in groups)
    )


def normalised_error(bins: Reliability) -> float:
    """Expected normalised calibration error: mean of |predicted - found| / predicted, 0 is best."""
    predicted, found = (np.asarray(x) for x in bins)
    return float(np.mean(np.abs(predicted - found) / predicted))


def coverage_error(observed: tuple[float, ...], levels: tuple[float, ...] = LEVELS) -> float:
    """Mean of |observed - nominal| share over the levels, 0 is best."""
    return float(np.mean(np.abs(np.subtract(observed, levels))))


def stretch(error: Samples, std: Samples, law: Law) -> float:
    """The factor on `std` under which the errors are likeliest.

    Of a Gaussian sqrt(mean(error² / std²)), of a Laplace law sqrt(2) mean(|error| / std). To be
    found on other scans than those that it is judged on.
    """
    _check(error, std)
    ratio = np.abs(error.astype(np.float64)) / std
    return math.sqrt(2) * float(np.mean(ratio)) if law == "laplace" else _rms(ratio)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _check(error: np.ndarray, std: np.ndarray) -> None:
    if error.shape != std.shape or error.ndim != 1 or not error.size:
        raise ValueError(f"errors {error.shape} and deviations {std.shape}: give one a sample")
    if not (std > 0).all():
        raise ValueError("predicted standard deviations must be positive")
