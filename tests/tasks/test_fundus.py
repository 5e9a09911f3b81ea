"""The fundus task: what training sees is what evaluation judges, and black does not count."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from medjax.data import pipeline
from medjax.errors import UserError
from medjax.metrics.fundus import field_of_view
from medjax.tasks.fundus import Fundus


def record(side: int = 120, unit: str = "", gain: float = 1.0) -> dict:
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(y - side / 2, x - side / 2) < 0.45 * side
    image = np.where(disc, 110 - 40 * (np.abs(x - y) < 3) + 10 * np.sin(y / 9), 4) * gain
    return {
        "image": image.astype(np.float32),
        "spacing": np.full(2, np.nan, np.float32),
        "case": "drawn",
        "unit": unit,
    }


def raw_batch(task: Fundus, patch: int = 32, count: int = 4) -> dict:
    side = tuple(patch + 2 * m for m in task.margin((patch, patch)))
    batches = pipeline.batches([record()], batch_size=count, patch=side, seed=0, threads=0)
    return {k: jnp.asarray(v) for k, v in next(batches).items()}


def test_training_pairs_have_the_patch_and_differ_from_step_to_step():
    task = Fundus()
    raw, prepare = raw_batch(task), jax.jit(task.prepare)
    first, again, other = (prepare(raw, jax.random.key(k)) for k in (0, 0, 1))
    assert first.degraded.shape == (4, 32, 32, 2) and first.clean.shape == (4, 32, 32, 1)
    np.testing.assert_array_equal(first.degraded, again.degraded)
    assert jnp.abs(first.degraded - other.degraded).max() > 1e-2


def test_without_faults_a_pair_is_two_of_the_same():
    task = Fundus(train_blur=(0.0, 0.0), train_shade=(0.0, 0.0), train_noise=(0.0, 0.0))
    pair = jax.jit(task.prepare)(raw_batch(task), jax.random.key(0))
    np.testing.assert_allclose(pair.degraded[..., :1], pair.clean, atol=1e-6)


def test_training_and_evaluation_have_the_same_noise():
    task = Fundus(blur=0.0, shade=0.0, train_blur=(0.0, 0.0), train_shade=(0.0, 0.0))
    task = dataclasses.replace(task, train_noise=(0.04, 0.04), noise=0.04)
    flat = {**record(), "image": np.full((64, 64), 100.0, np.float32)}
    case = task.simulate(flat, 0)
    raw = {"image": jnp.full((8, 64, 64, 1), 100.0)}
    task = dataclasses.replace(task, augment=dataclasses.replace(task.augment, gain=(1.0, 1.0)))
    pair = jax.jit(task.prepare)(raw, jax.random.key(0))
    seen = task.decode(pair.degraded[..., :1] - pair.clean)
    assert float(seen.std()) == pytest.approx(case.noise_std, rel=0.05)
    # Variance at 100 of 255: a ninth of that at white, and eight ninths in proportion.
    expected = 0.04 * 255 * np.sqrt(1 / 9 + 8 / 9 * 100 / 255)
    assert case.noise_std == pytest.approx(expected, rel=0.05)


def test_a_case_is_the_same_for_the_same_seed():
    first, again, other = (Fundus().simulate(record(), s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.degraded, again.degraded)
    assert np.abs(first.degraded - other.degraded).max() > 1
    np.testing.assert_array_equal(first.reference, record()["image"])


def test_judged_inside_the_field_of_view_only():
    task = Fundus()
    case = task.simulate(record(), 0)
    inside = field_of_view(case.reference)
    values = task.judge(case, case.degraded)
    assert set(values) == {c.key for c in task.columns}
    error = np.mean((case.degraded - case.reference)[inside] ** 2)
    assert values["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    _, maps = structural_similarity(
        case.degraded, case.reference, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    cut = (slice(5, -5),) * 2
    assert values["ssim"] == pytest.approx(maps[cut][inside[cut]].mean(), abs=1e-4)
    outside = np.where(inside, case.degraded, 77.0)
    assert task.judge(case, outside)["psnr"] == pytest.approx(values["psnr"])


def test_blur_takes_contrast_from_vessels():
    case = Fundus(blur=3.0).simulate(record(), 0)
    task = Fundus()
    blurred = task.judge(case, case.degraded)["vessel_contrast"]
    assert blurred < 0.9 * task.judge(case, case.reference)["vessel_contrast"]


def test_encoding_is_undone_by_decoding():
    grey = jnp.linspace(0, 255, 64 * 64).reshape(1, 64, 64, 1)
    encoded = Fundus().encode(grey)
    assert encoded.shape == (1, 64, 64, 2)
    np.testing.assert_allclose(Fundus().decode(encoded[..., :1]), grey, atol=1e-3)


@pytest.mark.parametrize(
    ("scan", "advice"), [(record(unit="HU"), "photograph"), (record(gain=9.0), "--task.white")]
)
def test_other_scans_are_refused_with_advice(scan, advice):
    with pytest.raises(UserError, match=advice):
        Fundus().check(scan)


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="train_blur"):
        Fundus(train_blur=(2.0, 1.0))
    with pytest.raises(UserError, match="positive"):
        Fundus(white=0)
    with pytest.raises(UserError, match="square"):
        Fundus().margin((32, 64))
