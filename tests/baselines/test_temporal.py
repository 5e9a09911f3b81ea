"""Classical restoration of series against NumPy and analytic answers."""

import numpy as np
import pytest

from medjax.baselines import temporal
from medjax.baselines.filters import named
from medjax.tasks.fmri import FMRISeries


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(0).normal(10, 1, (12, 3, 6, 7)).astype(np.float32)


@pytest.mark.parametrize("size", [3, 5])
def test_temporal_median_is_numpys(noisy: np.ndarray, size: int) -> None:
    half = size // 2
    wide = np.pad(noisy, [(half, half), (0, 0), (0, 0), (0, 0)], mode="symmetric")
    windows = np.stack([wide[i : i + len(noisy)] for i in range(size)])
    expected = np.median(windows, axis=0)
    np.testing.assert_array_equal(temporal.temporal_median(noisy, 1.0, size=size), expected)


def test_temporal_gaussian_leaves_space_alone() -> None:
    series = np.zeros((41, 1, 5, 5), np.float32)
    series[20, 0, 2, 2] = 1
    smooth = temporal.temporal_gaussian(series, 1.0, volumes=2.0)
    bell = np.exp(-(np.arange(-20, 21) ** 2) / 8)
    np.testing.assert_allclose(smooth[:, 0, 2, 2], bell / bell.sum(), atol=1e-4)
    assert not np.delete(smooth.reshape(41, -1), 12, axis=1).any()


def test_despike_replaces_spikes_alone() -> None:
    series = np.full((9, 1, 4, 4), 5, np.float32)
    series[4, 0, 1, 1] = 9
    series[6, 0, 2, 2] = 5.5
    clean = temporal.despike(series, 1.0, threshold=3.0)
    assert clean[4, 0, 1, 1] == 5 and clean[6, 0, 2, 2] == 5.5


def test_lost_slices_are_found_and_interpolated(noisy: np.ndarray) -> None:
    ramp = np.linspace(0, 0.2, 12, dtype=np.float32)[:, None, None, None]
    truth = 10 + ramp + 0 * noisy
    bad = truth.copy()
    for t, z in ((0, 1), (4, 2), (5, 2), (11, 0)):
        bad[t, z] *= 0.6
    found = temporal.lost_slices(bad, 4.0)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == [(0, 1), (4, 2), (5, 2), (11, 0)]
    repaired = temporal.slice_repair(bad, 1.0, threshold=4.0)
    np.testing.assert_allclose(repaired[4:6, 2], truth[4:6, 2], rtol=1e-5)
    # At the ends there is one neighbour only.
    np.testing.assert_allclose(repaired[0, 1], truth[1, 1], rtol=1e-6)
    np.testing.assert_array_equal(repaired[~found], bad[~found])
    np.testing.assert_array_equal(temporal.slice_repair(noisy * 0, 1.0, threshold=4.0), 0)


def test_pca_keeps_signal_and_drops_noise() -> None:
    rng = np.random.default_rng(2)
    course, shape = np.sin(np.arange(40) / 3), (4, 20, 20)
    truth = 100 + course[:, None, None, None] * rng.normal(size=shape) * 3
    noisy = truth + rng.normal(size=truth.shape)
    clean = temporal.temporal_pca(noisy, 1.0, strength=1.05)
    # One component of 40 is left of the noise; the mean's own noise stays.
    left = np.std(clean - truth) / np.std(noisy - truth)
    assert left == pytest.approx(np.sqrt(2 / 40), rel=0.2)
    only_noise = 100 + rng.normal(size=truth.shape)
    flat = temporal.temporal_pca(only_noise, 1.0, strength=1.05)
    np.testing.assert_allclose(flat, np.broadcast_to(only_noise.mean(0), flat.shape), atol=1e-4)


def test_the_tasks_filters_run_on_series_only(noisy: np.ndarray) -> None:
    for baseline in named(FMRISeries.filters):
        out = baseline.run(noisy, 1.0)
        assert out.shape == noisy.shape and np.isfinite(out).all()
        with pytest.raises(ValueError, match="space axes"):
            baseline.run(noisy[0], 1.0)
