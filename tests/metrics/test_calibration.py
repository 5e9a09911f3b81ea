"""Calibration of predicted spread against laws whose answers are known."""

import numpy as np
import pytest
from scipy import stats

from medjax.losses.likelihood import Law
from medjax.metrics.calibration import (
    LEVELS,
    coverage,
    coverage_error,
    half_width,
    normalised_error,
    reliability,
    stretch,
)

LAWS: dict[Law, stats.rv_continuous] = {"gaussian": stats.norm, "laplace": stats.laplace}
COUNT = 200_000


def scattered(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Errors that scatter by a law exactly as their standard deviations of 1 to 20 say."""
    rng = np.random.default_rng(3)
    std = rng.uniform(1, 20, COUNT)
    return rng.permuted(LAWS[law].rvs(size=COUNT, random_state=rng)) / LAWS[law].std() * std, std


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("level", [0.1, 0.5, 0.68, 0.95])
def test_intervals_are_scipys(law: Law, level: float) -> None:
    expected = LAWS[law].interval(level)[1] / LAWS[law].std()
    assert half_width(level, law) == pytest.approx(expected)


@pytest.mark.parametrize("law", LAWS)
def test_true_deviations_are_calibrated(law: Law) -> None:
    error, std = scattered(law)
    # Three standard errors of a share of so many samples.
    np.testing.assert_allclose(coverage(error, std, law), LEVELS, atol=1.5 / np.sqrt(COUNT))
    bins = reliability(error, std)
    np.testing.assert_allclose(bins.found, bins.predicted, rtol=0.03)
    assert list(bins.predicted) == sorted(bins.predicted)
    assert normalised_error(bins) < 0.02
    assert stretch(error, std, law) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("law", LAWS)
def test_deviations_that_are_too_small_are_found_out_and_mended(law: Law) -> None:
    error, std = scattered(law)
    small = std / 2.5
    found = coverage(error, small, law)
    expected = [2 * LAWS[law].cdf(half_width(p, law) * LAWS[law].std() / 2.5) - 1 for p in LEVELS]
    np.testing.assert_allclose(found, expected, atol=1.5 / np.sqrt(COUNT))
    gap = np.mean(np.subtract(LEVELS, expected))
    assert coverage_error(found) == pytest.approx(gap, abs=0.003)
    # Errors are 2.5 times the prediction: |1 - 2.5| of it.
    assert normalised_error(reliability(error, small)) == pytest.approx(1.5, rel=0.03)
    factor = stretch(error, small, law)
    assert factor == pytest.approx(2.5, rel=0.01)
    assert coverage_error(coverage(error, factor * small, law)) < 0.003


def test_a_constant_prediction_is_right_on_average_and_wrong_in_every_bin() -> None:
    rng = np.random.default_rng(0)
    error = np.concatenate([rng.normal(0, 1, COUNT), rng.normal(0, 7, COUNT)])
    # Ties stay in order, so the bins are the two halves' own.
    bins = reliability(error, np.full(error.shape, 5.0), bins=2)
    np.testing.assert_allclose(bins.found, (1, 7), rtol=0.01)
    assert normalised_error(bins) == pytest.approx((4 / 5 + 2 / 5) / 2, rel=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        half_width(1.0, "laplace")
    with pytest.raises(ValueError, match="one a sample"):
        coverage(np.zeros(3), np.ones(4), "gaussian")
    with pytest.raises(ValueError, match="positive"):
        reliability(np.ones(3), np.zeros(3))
