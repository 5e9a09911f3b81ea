"""The exposure task: patches agree with whole radiographs, files come back in their greys."""

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
from medjax.physics.xray import Detector, expose
from medjax.tasks.exposure import XrayExposure, grey_scale

STILL = Augment(warp_probability=0.0, flip=False)


def limb(size: int = 160) -> np.ndarray:
    """A limb with bone in air, as the greys of a 12-bit file: air 200, bone 3600."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    tissue = np.sqrt(np.maximum(1 - (x / 0.4 / size) ** 2, 0))
    bone = np.sqrt(np.maximum(1 - (x / 0.1 / size) ** 2, 0))
    grey = 0.55 * tissue + 0.3 * bone * (1 + 0.3 * np.sin(y / 5))
    return np.rint(200 + 3400 * grey / grey.max()).astype(np.float32)


def record(image: np.ndarray, unit: str = "") -> dict:
    nowhere = np.full(2, np.nan, np.float32)
    return {"image": image, "spacing": nowhere, "case": "limb", "unit": unit, "index": 0}


@pytest.mark.parametrize("exposure", [0.25, 4.0])
def test_training_patches_look_like_whole_radiographs(exposure) -> None:
    task = XrayExposure(
        exposures=(exposure,), train_exposure=(exposure, exposure), gamma=(1, 1), augment=STILL
    )
    scan = record(limb())
    case = task.simulate(scan, 0)
    place = (slice(48, 112), slice(48, 112))
    raw = {"image": scan["image"][place][..., None]} | task.context(scan, (48, 48), (64, 64))
    batch = {k: jnp.asarray(np.stack([v] * 4)) for k, v in raw.items()}
    pair = jax.jit(task.prepare)(batch, jax.random.key(0))
    assert pair.degraded.shape == (4, 64, 64, 2) and pair.clean.shape == (4, 64, 64, 1)
    degraded, clean = (np.asarray(task.decode(x[..., :1]))[..., 0] for x in pair)
    np.testing.assert_allclose(clean[0], case.reference[place], atol=1e-5)
    mine, whole = (np.asarray(d) - case.reference[place] for d in (degraded, case.degraded[place]))
    assert np.std(mine) == pytest.approx(np.std(whole), rel=0.12)
    assert np.mean(mine) == pytest.approx(np.mean(whole), abs=0.02)


def test_levels_are_put_right() -> None:
    task = XrayExposure()
    for seed, exposure in enumerate(task.exposures):
        case = task.simulate(record(limb()), seed)
        raw = expose(jax.random.key(9), case.reference[None, ..., None], exposure, task.detector)
        worse, better = (
            task.judge(case, image)["psnr"] for image in (np.asarray(raw)[0, ..., 0], case.degraded)
        )
        assert better > worse + 8


def test_the_noise_told_to_filters_is_the_noise() -> None:
    task = XrayExposure(exposures=(0.25,))
    case = task.simulate(record(limb()), 0)
    error = np.std(case.degraded - case.reference)
    assert case.noise_std == pytest.approx(error, rel=0.05)
    assert case.spacing is None


def test_a_file_comes_back_in_its_own_greys() -> None:
    image = limb()
    values, undo = XrayExposure().normalise(image)
    back = undo(values)
    assert np.median(np.abs(back - image)) < 0.15 * 4095
    assert back.min() >= 0 and back.max() <= 4095
    # Whatever the width of the file's numbers, the network sees the same.
    same, _ = XrayExposure().normalise(np.rint(image / 4095 * 65535))
    np.testing.assert_allclose(same, values, atol=1e-3)


def test_normalising_undoes_what_exposure_did() -> None:
    task = XrayExposure()
    clean = (limb() - 200) / 3400
    greys = np.asarray(expose(jax.random.key(0), clean[None, ..., None], 0.5, Detector()))
    file = np.rint(np.clip(greys[0, ..., 0], 0, 1) * 4095)
    values, _ = task.normalise(file)
    assert np.median(np.abs(values - clean)) < 0.02


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 0.5, 0.9], (0, 1)),
        ([3, 7, 250], (0, 255)),
        ([3, 7, 800], (0, 1023)),
        ([0, 31893], (0, 32767)),
        ([-5.0, 2.5], (-5, 2.5)),
    ],
)
def test_grey_scale_of_files(values, scale) -> None:
    assert grey_scale(np.array(values, np.float32)) == scale


def test_noise_differs_between_steps_and_not_within_one() -> None:
    task = XrayExposure()
    side = 32 + 2 * task.margin((32, 32))[0]
    context = functools.partial(task.context, patch=(side, side))
    batches = pipeline.batches(
        [record(limb())], batch_size=4, patch=(side, side), seed=0, context=context
    )
    raw = {k: jnp.asarray(v) for k, v in next(batches).items()}
    prepare = jax.jit(task.prepare)
    pairs = [prepare(raw, jax.random.key(k)) for k in (0, 0, 1)]
    assert pairs[0].clean.shape == (4, 32, 32, 1)
    np.testing.assert_array_equal(pairs[0].degraded, pairs[1].degraded)
    assert np.abs(pairs[0].degraded - pairs[2].degraded).max() > 1e-3


def test_judged_as_scikit_image_does() -> None:
    task = XrayExposure()
    case = task.simulate(record(limb()), 0)
    values = task.judge(case, case.degraded)
    a, b = np.clip(case.degraded, 0, 1), case.reference
    assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-3)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert values["ssim"] == pytest.approx(
        structural_similarity(a, b, data_range=1, **options), abs=1e-4
    )
    assert values["mae_percent"] == pytest.approx(100 * np.mean(np.abs(a - b)), rel=1e-4)
    assert set(values) == {c.key for c in task.columns}


def test_what_is_no_radiograph_is_refused() -> None:
    with pytest.raises(UserError, match="no radiograph"):
        XrayExposure().check(record(limb(), unit="HU"))
    with pytest.raises(UserError, match="one value"):
        XrayExposure().simulate(record(np.ones((32, 32), np.float32)), 0)


@pytest.mark.parametrize(
    "wrong", [{"exposures": ()}, {"train_exposure": (2.0, 1.0)}, {"gamma": (0.0, 1.0)}]
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        dataclasses.replace(XrayExposure(), **wrong)
