"""Disagreement of draws against NumPy on all draws at once."""

import numpy as np
import pytest
from scipy import stats

from medjax.uncertainty import disagreement, draws, tells_errors

SHAPE = (6, 5)
SCALE = np.linspace(0, 3, 30).reshape(SHAPE)


def draw(seed: int):
    noise = np.random.default_rng(seed).normal(size=SHAPE) * SCALE
    return lambda image: (image + 1000 + noise).astype(np.float32)


def test_mean_and_spread_are_numpys() -> None:
    image = np.ones(SHAPE, np.float32)
    all_draws = np.stack([draw(seed)(image) for seed in range(5, 17)]).astype(np.float64)
    found = draws(draw, image, 12, seed=5)
    np.testing.assert_allclose(found.mean, all_draws.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, all_draws.std(0, ddof=1), atol=1e-4)
    np.testing.assert_array_equal(found.std, disagreement(draw, image, 12, seed=5))


def test_a_known_spread_is_found() -> None:
    found = disagreement(draw, np.zeros(SHAPE, np.float32), 400)
    np.testing.assert_allclose(found, SCALE, rtol=0.2, atol=1e-3)


def test_one_draw_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        disagreement(draw, np.zeros(SHAPE, np.float32), 1)


def test_correlation_with_errors_is_scipys_of_the_absolute_ones() -> None:
    error = np.random.default_rng(1).normal(size=SHAPE)
    inside = SCALE > 1
    expected = stats.spearmanr(SCALE[inside], np.abs(error)[inside]).statistic
    assert tells_errors(SCALE, error, inside) == pytest.approx(expected)
    assert tells_errors(SCALE, -SCALE) == pytest.approx(1.0)
    assert np.isnan(tells_errors(np.ones(SHAPE), error))
    with pytest.raises(ValueError, match="shapes differ"):
        tells_errors(SCALE, error[:2])
