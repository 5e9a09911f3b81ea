"""The low-dose CT task: training pairs agree with what the whole virtual scanner does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medjax.data import pipeline
from medjax.data.augment import Augment
from medjax.errors import UserError
from medjax.physics.ct import ray_angles, ray_sums
from medjax.tasks.ldct import PROBES, LowDoseCT
from medjax.tasks.ldct_noise2inverse import Noise2InverseCT
from medjax.tasks.ldct_projection_volumes import LowDoseProjectionVolumes
from medjax.tasks.ldct_regions import LowDoseRegions

STILL = Augment(warp_probability=0.0, intensity_probability=0.0, flip=False)


def body(size: int = 192) -> np.ndarray:
    """A water ellipse with a disc of bone and one of lung, in HU."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu = np.where((x / 0.42 / size) ** 2 + (y / 0.3 / size) ** 2 < 1, 20.0, -1000.0)
    hu[np.hypot(x - 40, y) < 12] = 600
    hu[np.hypot(x + 40, y) < 14] = -800
    return hu.astype(np.float32)


def record(image: np.ndarray, mm: float = 1.5, unit: str = "HU") -> dict:
    spacing = np.array([mm, mm], np.float32)
    return {"image": image, "spacing": spacing, "case": "phantom", "unit": unit}


def test_training_noise_is_as_strong_as_the_scanners() -> None:
    task = dataclasses.replace(LowDoseCT(), views=180, train_dose=(0.25, 0.25), augment=STILL)
    scan = record(body())
    case = task.simulate(scan, 0)
    middle = (slice(80, 112), slice(80, 112))
    expected = np.std((case.degraded - case.reference)[middle])
    margin = task.margin((32, 32))[0]
    side = 32 + 2 * margin
    corner = (80 - margin, 80 - margin)
    patch = scan["image"][corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    raw = {"image": patch[..., None], "spacing": scan["spacing"]}
    raw |= task.context(scan, corner, (side, side))
    batch = {k: jnp.asarray(np.stack([v] * 16)) for k, v in raw.items()}
    pair = jax.jit(task.prepare)(batch, jax.random.key(0))
    assert pair.degraded.shape == (16, 32, 32, 2) and pair.clean.shape == (16, 32, 32, 1)
    noise = task.decode(pair.degraded[..., :1]) - task.decode(pair.clean)
    assert np.std(noise) == pytest.approx(expected, rel=0.12)
    np.testing.assert_allclose(
        np.mean(task.decode(pair.clean)), np.mean(case.reference[middle]), atol=2
    )


def test_noise_differs_between_steps_and_not_within_one() -> None:
    task = dataclasses.replace(LowDoseCT(), views=90, augment=STILL)
    side = 32 + 2 * task.margin((32, 32))[0]
    context = functools.partial(task.context, patch=(side, side))
    batches = pipeline.batches(
        [record(body())], batch_size=4, patch=(side, side), seed=0, context=context
    )
    raw = {k: jnp.asarray(v) for k, v in next(batches).items()}
    prepare = jax.jit(task.prepare)
    first, again, other = (prepare(raw, jax.random.key(k)).degraded for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_patches_take_their_rays_from_one_survey_of_the_slice() -> None:
    task, scan, patch = LowDoseCT(), record(body()), (64, 64)
    assert task.survey is not None
    given = task.context({**scan, "survey": task.survey(scan)}, (70, 81), patch)
    rays = ray_sums(scan["image"], 1.5, (70 + 31.5, 81 + 31.5), ray_angles(PROBES), width=64)
    np.testing.assert_allclose(given["ray_offsets"], rays.offsets_mm, atol=1e-4)
    off = np.exp((given["line_integrals"] - rays.integrals) / 2) - 1
    assert np.median(np.abs(off)) < 0.01
    elsewhere = task.context({**scan, "survey": np.zeros((PROBES, 300))}, (70, 81), patch)
    assert not elsewhere["line_integrals"].any()
    for without in (LowDoseRegions, LowDoseProjectionVolumes, Noise2InverseCT):
        assert without().survey is None


def test_a_quarter_of_the_dose_doubles_the_noise() -> None:
    scan = record(body())
    full, quarter = (
        dataclasses.replace(LowDoseCT(), views=180, dose=dose).simulate(scan, 0)
        for dose in (1.0, 0.25)
    )
    assert quarter.noise_std / full.noise_std == pytest.approx(2, rel=0.15)
    np.testing.assert_allclose(full.reference, quarter.reference, atol=1e-3)


def test_slices_that_are_not_square_keep_their_shape() -> None:
    wide = body()[40:150]
    case = dataclasses.replace(LowDoseCT(), views=90).simulate(record(wide), 0)
    assert case.degraded.shape == case.reference.shape == wide.shape


def test_encoding_is_undone_by_decoding() -> None:
    hu = jnp.linspace(-1000, 2000, 64 * 64).reshape(1, 64, 64, 1)
    task = LowDoseCT()
    encoded = task.encode(hu)
    assert encoded.shape == (1, 64, 64, 2)
    np.testing.assert_allclose(task.decode(encoded[..., :1]), hu, atol=1e-3)


def test_judged_as_scikit_image_does() -> None:
    task = dataclasses.replace(LowDoseCT(), views=90)
    case = task.simulate(record(body()), 0)
    values = task.judge(case, case.degraded)
    a, b = np.clip(case.degraded, -160, 240), np.clip(case.reference, -160, 240)
    assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=400), abs=1e-3)
    expected = structural_similarity(
        a, b, data_range=400, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert values["ssim"] == pytest.approx(expected, abs=1e-4)
    rmse = np.sqrt(np.mean((case.degraded - case.reference) ** 2))
    assert values["rmse_hu"] == pytest.approx(rmse, rel=1e-5)
    assert set(values) == {c.key for c in task.columns}


@pytest.mark.parametrize(
    ("scan", "advice"),
    [(record(body(), unit=""), "--modality CT"), (record(body(), mm=np.nan), "--pixel-mm")],
)
def test_scans_that_are_no_ct_are_refused_with_advice(scan: dict, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        LowDoseCT().check(scan)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="dose"):
        LowDoseCT(dose=0)
    with pytest.raises(UserError, match="must rise"):
        LowDoseCT(window=(240, -160))
