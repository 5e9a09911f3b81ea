"""The measures of the VAE benchmark against SciPy and made-up copies; the whole of it in small."""

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.vae_augmentation import __main__ as benchmark
from benchmarks.vae_augmentation.data import chest_xrays
from benchmarks.vae_augmentation.measure import auc, copies, intervals


def test_auc_is_mann_whitneys_u_with_ties():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    scores = np.round(rng.normal(size=60) + labels, 1)
    u = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    pairs = (labels == 1).sum() * (labels == 0).sum()
    assert auc(scores, labels) == pytest.approx(u / pairs)
    assert auc(-scores, labels) == pytest.approx(1 - u / pairs)


def test_a_clear_gain_has_an_interval_above_zero_and_noise_has_none():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 80)
    weak, same, strong = (
        rng.normal(size=(4, 160)) + strength * labels for strength in (0.5, 0.5, 2.5)
    )
    found = intervals({"weak": weak, "same": same, "strong": strong}, labels, "weak", 300)
    value, gain = found["strong"]
    assert value.low < value.value < value.high
    assert gain.low > 0.1
    assert found["same"][1].low < 0 < found["same"][1].high
    assert found["weak"][1] == (0, 0, 0)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, 8, 8, 1)).astype(np.float32)


def test_copies_are_found_even_blurred_and_new_images_are_none():
    train, held_out, new = images(30, 0), images(200, 1), images(100, 2)
    noise = 0.05 * np.random.default_rng(3).normal(size=train.shape)
    copied = copies(train + noise, train, held_out)
    assert copied.suspicious == 1 and copied.made < 0.2 * copied.held_out
    mean = train.mean(axis=0, keepdims=True)
    assert copies(0.5 * train + 0.5 * mean, train, held_out).suspicious == 1
    fresh = copies(new, train, held_out)
    assert fresh.suspicious < 0.06
    assert fresh.made == pytest.approx(fresh.held_out, rel=0.05)
    # The mean image is near to all, and a copy of none.
    assert copies(mean, train, held_out).suspicious == 0


def sets_there(folder) -> None:
    for part in ("cxr_pneumoniamnist", "us_busi256"):
        if not (folder / part).is_dir():
            pytest.skip(f"no {part} in MEDJAX_DATA")


def test_few_images_are_balanced_and_differ_by_seed(medjax_data):
    sets_there(medjax_data)
    data = chest_xrays()
    (first, labels), (again, _), (other, _) = (data.few(5, seed) for seed in (0, 0, 1))
    assert labels.tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    known = {image.tobytes() for image in data.images}
    assert not any(image.tobytes() in known for image in data.test_images)


@pytest.mark.slow
def test_the_whole_benchmark_in_small(medjax_data, tmp_path, capsys):
    sets_there(medjax_data)
    benchmark.main(["--quick", "--out", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["row"] for row in rows] == 2 * list(benchmark.RECIPES)
    assert all(0 <= row["auc"]["low"] <= row["auc"]["high"] <= 1 for row in rows)
    assert "held-out real" in capsys.readouterr().out
