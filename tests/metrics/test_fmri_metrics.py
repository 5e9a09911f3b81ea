"""fMRI metrics against NumPy's own and analytic answers."""

import numpy as np
import pytest

from medjax.metrics import fmri


@pytest.fixture
def series() -> np.ndarray:
    rng = np.random.default_rng(0)
    mean = np.zeros((3, 8, 9))
    mean[:, 2:6, 2:7] = 100.0
    return (mean + rng.normal(size=(60, 3, 8, 9)) * 2.0).astype(np.float32)


def test_brain_is_where_the_signal_is(series: np.ndarray) -> None:
    brain = fmri.brain_mask(series)
    assert brain.sum() == 3 * 4 * 5 and brain[:, 2:6, 2:7].all()
    assert fmri.brain_signal(series) == pytest.approx(100, abs=0.2)
    assert fmri.brain_signal(np.zeros((2, 3, 4, 5), np.float32)) == 1.0


def test_white_noise_has_known_tsnr_and_dvars(series: np.ndarray) -> None:
    brain = fmri.brain_mask(series)
    assert fmri.tsnr(series, brain) == pytest.approx(50, rel=0.05)
    still = np.repeat(series[:1], 5, 0)
    assert fmri.tsnr(still, brain) == pytest.approx(fmri.TSNR_CEILING)
    # The difference of two independent samples has sqrt(2) times their deviation.
    assert fmri.dvars(series, brain, signal=100) == pytest.approx(2 * np.sqrt(2), rel=0.05)
    assert np.isnan(fmri.dvars(series[:1], brain))


def test_rmse_is_percent_of_the_brain(series: np.ndarray) -> None:
    brain = fmri.brain_mask(series)
    worse = series + np.where(brain, 3.0, 50.0).astype(np.float32)
    assert fmri.rmse_percent(worse, series, brain) == pytest.approx(3, rel=0.01)


def test_time_correlation_is_numpys(series: np.ndarray) -> None:
    brain = fmri.brain_mask(series)
    other = series + np.random.default_rng(1).normal(size=series.shape).astype(np.float32)
    pairs = zip(series[:, brain].T, other[:, brain].T, strict=True)
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    assert fmri.time_correlation(other, series, brain) == pytest.approx(expected, abs=1e-5)
    assert fmri.time_correlation(series * 0, series, brain) == 0
    assert np.isnan(fmri.time_correlation(series, series * 0 + 1, brain))


def test_effect_is_found_under_a_drift() -> None:
    times = np.arange(40.0)
    regressor = (times % 10 < 5).astype(float)
    heights = np.linspace(-2, 2, 12).reshape(1, 3, 4)
    series = 100 + 0.3 * times[:, None, None, None] + heights * regressor[:, None, None, None]
    brain = np.ones((1, 3, 4), bool)
    np.testing.assert_allclose(fmri.effect(series, brain, regressor), heights.ravel(), atol=1e-9)
    flipped = 2 * series.mean(0) - series
    assert fmri.effect_correlation(series, series, brain, regressor) == pytest.approx(1)
    assert fmri.effect_correlation(flipped, series, brain, regressor) == pytest.approx(-1)
    with pytest.raises(ValueError, match="more volumes"):
        fmri.effect(series, brain, times)
