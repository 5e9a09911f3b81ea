import numpy as np
import pytest

from medjax.metrics.ct_observer import detectability, dog_channels, known_detectability
from medjax.metrics.ct_observer_difference import detectability_difference

SIZE = 24
CHANNELS = dog_channels(SIZE, count=5, first=0.02)
SIGMA, MORE = 20.0, 12.0


def blob(height=9.0, sigma=2.5):
    y, x = np.meshgrid(*[np.arange(SIZE) - SIZE // 2] * 2, indexing="ij")
    return height * np.exp(-(x**2 + y**2) / (2 * sigma**2))


def study(seed, count=60):
    """Regions of a method, and of a baseline with the same noise and some of its own."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, SIGMA, (2, count, SIZE, SIZE))
    worse = noise + rng.normal(0, MORE, noise.shape)
    return noise[0] + blob(), noise[1], worse[0] + blob(), worse[1]


def analytic():
    ours, theirs = (
        known_detectability(blob(), variance * np.eye(SIZE**2), CHANNELS)
        for variance in (SIGMA**2, SIGMA**2 + MORE**2)
    )
    return ours - theirs


def test_interval_covers_the_analytic_difference():
    found = [detectability_difference(*study(seed), CHANNELS) for seed in range(60)]
    truth = analytic()
    assert truth > 0.2
    assert np.mean([got.mean for got in found]) == pytest.approx(truth, abs=0.1)
    inside = sum(got.low <= truth <= got.high for got in found)
    assert inside >= 57 - 4 * np.sqrt(60 * 0.95 * 0.05)
    # Neither far too wide: as narrow as the scatter of the studies, give or take.
    spread = np.std([got.mean for got in found])
    width = np.mean([got.high - got.low for got in found]) / 2 / 1.96
    assert width == pytest.approx(spread, rel=0.35)


def test_pairs_tell_more_than_the_two_intervals():
    present, absent, baseline_present, baseline_absent = study(0)
    got = detectability_difference(present, absent, baseline_present, baseline_absent, CHANNELS)
    ours = detectability(present, absent, CHANNELS)
    theirs = detectability(baseline_present, baseline_absent, CHANNELS)
    assert got.mean == pytest.approx(ours.dprime - theirs.dprime)
    assert got.high - got.low < 0.8 * (ours.high - ours.low)
    assert got.cases == 120


def test_a_method_against_itself():
    present, absent, *_ = study(1)
    assert detectability_difference(present, absent, present, absent, CHANNELS)[:3] == (0, 0, 0)


def test_other_regions_are_refused():
    present, absent, *_ = study(2)
    with pytest.raises(ValueError, match="not the same regions"):
        detectability_difference(present, absent, present[1:], absent, CHANNELS)
