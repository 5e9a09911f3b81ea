import numpy as np
import pytest
from scipy import stats

from medjax.metrics.bootstrap import difference_interval, mean_interval


@pytest.mark.parametrize("cases", [8, 40])
def test_agrees_with_scipys_bca_on_skewed_values(cases):
    values = np.random.default_rng(0).exponential(size=cases)
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20000, rng=np.random.default_rng(1)
    ).confidence_interval
    got = mean_interval(values, resamples=20000)
    width = expected.high - expected.low
    assert got.mean == pytest.approx(values.mean())
    assert got.cases == cases
    assert got.low == pytest.approx(expected.low, abs=0.03 * width)
    assert got.high == pytest.approx(expected.high, abs=0.03 * width)


def test_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        interval = mean_interval(rng.normal(5, 2, size=30), resamples=500)
        hits += interval.low <= 5 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_slices_of_few_patients_give_a_wide_interval():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 50)
    values = rng.normal(size=12)[patients] + 0.1 * rng.normal(size=600)
    alone = mean_interval(values)
    grouped = mean_interval(values, groups=patients.tolist())
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low > 4 * (alone.high - alone.low)
    means = [values[patients == p].mean() for p in range(12)]
    expected = stats.bootstrap((means,), np.mean, rng=np.random.default_rng(1)).confidence_interval
    assert grouped.low == pytest.approx(expected.low, abs=0.05)
    assert grouped.high == pytest.approx(expected.high, abs=0.05)


def test_pairing_sees_a_difference_that_the_cases_spread_hides():
    rng = np.random.default_rng(0)
    hard = rng.normal(35, 5, size=20)
    better, worse = hard + 1 + 0.2 * rng.normal(size=20), hard
    assert mean_interval(better).low < mean_interval(worse).high
    assert difference_interval(better, worse).low > 0.8


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=9)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


@pytest.mark.parametrize("value", [0.0, 38.4, 1e6])
def test_equal_values_give_a_point(value):
    assert mean_interval([value] * 5) == (pytest.approx(value),) * 3 + (5,)


def test_one_case_or_one_patient_has_no_interval():
    assert np.isnan(mean_interval([3.0])[1:3]).all()
    grouped = mean_interval([3.0, 4.0], groups=["a", "a"])
    assert grouped.mean == 3.5
    assert np.isnan(grouped.low)


def test_two_cases_stay_between_them():
    interval = mean_interval([1.0, 3.0])
    assert 1 <= interval.low < 2 < interval.high <= 3


def test_errors():
    with pytest.raises(ValueError, match="one number a case"):
        mean_interval([])
    with pytest.raises(ValueError, match="1 values are not finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="groups"):
        mean_interval([1.0, 2.0], groups=["a"])
    with pytest.raises(ValueError, match="level"):
        mean_interval([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="same cases"):
        difference_interval([1.0, 2.0], [1.0])
