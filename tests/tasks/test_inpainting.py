"""Inpainting: what is known stays bit by bit, gaps are judged alone, files say what is missing."""

import functools

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from medjax.build import fold
from medjax.data import pipeline
from medjax.data.augment import Augment
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.physics.missing import MISSING, Gaps, is_missing
from medjax.restore import restore_file
from medjax.tasks.inpainting import Inpainting, VolumeInpainting

STILL = Augment(warp_probability=0.0, flip=False)


def head(size: int = 96) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu = np.where(np.hypot(x, y) < 0.4 * size, 40 + 30 * np.sin(x / 6), -1000)
    return hu.astype(np.float32)


def record(image: np.ndarray, unit: str = "HU") -> dict:
    spacing = np.ones(image.ndim, np.float32)
    return {"image": image, "spacing": spacing, "case": "head", "unit": unit, "index": 0}


def volume() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 300.0, (24, 20, 28)).astype(np.float32)


TASKS = {
    "slice": (Inpainting(augment=STILL), record(head())),
    "volume": (VolumeInpainting(augment=STILL), record(volume(), unit="")),
}


@pytest.mark.parametrize("name", TASKS)
def test_training_pairs(name) -> None:
    task, scan = TASKS[name]
    task.check(scan)
    patch = tuple(min(n, 16) for n in scan["image"].shape)
    context = functools.partial(task.context, patch=patch)
    batches = pipeline.batches([scan], batch_size=4, patch=patch, seed=0, context=context)
    raw = {k: jnp.asarray(v) for k, v in next(batches).items()}
    pair = jax.jit(task.prepare)(raw, jax.random.key(0))
    assert pair.degraded.shape == (4, *patch, 2) and pair.clean.shape == (4, *patch, 1)
    guess, mask = np.split(np.asarray(pair.degraded), 2, axis=-1)
    assert set(np.unique(mask)) == {0, 1} and 0.02 < mask.mean() < 0.7
    np.testing.assert_array_equal(guess[mask == 0], np.asarray(pair.clean)[mask == 0])
    values = task.decode(pair.clean) * task.level(scan["image"])
    np.testing.assert_allclose(values, raw["image"], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", TASKS)
def test_held_out_scans_miss_what_the_network_finds(name) -> None:
    task, scan = TASKS[name]
    case = task.simulate(scan, 3)
    missing = is_missing(case.degraded)
    assert missing.mean() > 0.05
    np.testing.assert_array_equal(case.degraded[~missing], case.reference[~missing])
    mask = jax.jit(task.encode)(jnp.asarray(case.degraded)[None, ..., None])[0, ..., 1]
    np.testing.assert_array_equal(np.asarray(mask) == 1, missing)
    np.testing.assert_array_equal(task.simulate(scan, 3).degraded, case.degraded)
    assert (task.simulate(scan, 4).degraded != case.degraded).any()


@pytest.mark.parametrize("name", TASKS)
def test_files_are_filled_where_marked_and_otherwise_untouched(name) -> None:
    task, scan = TASKS[name]
    file = scan["image"].copy()
    marked = np.zeros(file.shape, bool)
    marked[3:7, 2:9] = True
    file[marked] = task.marker
    values, undo = task.normalise(file)
    np.testing.assert_array_equal(is_missing(values), marked)
    restored = undo(np.full_like(values, 0.25))
    np.testing.assert_array_equal(restored[~marked], scan["image"][~marked])
    np.testing.assert_allclose(restored[marked], 0.25 * task.level(file), rtol=1e-6)


def test_slice_by_slice_the_guess_is_still_the_volumes() -> None:
    """Between two slices of a volume that rises with z, the lost one lies, and no slice says so."""
    slices = VolumeInpainting(augment=STILL, slicewise=True)
    assert slices.network_dims == 2 and VolumeInpainting().network_dims == 3
    z, y, x = np.ogrid[:6, :8, :10]
    rising = (0.1 * z + 0 * y + 0 * x).astype(np.float32)
    degraded = rising.copy()
    degraded[3] = MISSING
    seen = fold(slices.encode(jnp.asarray(degraded)[None, ..., None]), slices.network_dims)
    assert seen.shape == (6, 8, 10, 2)
    np.testing.assert_array_equal(seen[..., 1], is_missing(degraded))
    np.testing.assert_allclose(seen[..., 0], rising, atol=1e-6)


def test_missing_samples_do_not_change_a_volumes_level() -> None:
    task = VolumeInpainting()
    image = volume()
    holes = image.copy()
    holes[::3] = -1
    assert task.level(holes) == pytest.approx(task.level(image), rel=0.05)


def test_judged_in_the_gaps_alone() -> None:
    task = Inpainting()
    case = task.simulate(record(head()), 0)
    missing = is_missing(case.degraded)
    restored = case.reference + np.where(missing, 8.0, 500.0).astype(np.float32)
    values = task.judge(case, restored)
    a, b = (
        np.clip(x, -160, 240) for x in (np.where(missing, restored, case.reference), case.reference)
    )
    error = (a - b)[missing]
    assert values["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert values["psnr"] == pytest.approx(10 * np.log10(400**2 / np.mean(error**2)), abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = structural_similarity(a, b, data_range=400, full=True, **options)
    inner = (slice(5, -5), slice(5, -5))
    assert values["ssim"] == pytest.approx(np.mean(full[inner][missing[inner]]), abs=1e-4)
    perfect = task.judge(case, case.reference)
    assert perfect["mae"] == 0 and perfect["psnr"] == pytest.approx(120)


def test_wrong_scans_and_settings_are_refused() -> None:
    with pytest.raises(UserError, match="values in HU"):
        Inpainting().check(record(head(), unit=""))
    with pytest.raises(UserError, match="volumes only"):
        Inpainting(gaps=Gaps(slices=0.1))
    with pytest.raises(UserError, match="train_amount"):
        Inpainting(train_amount=(0.5, 3.0))
    with pytest.raises(UserError, match="must rise"):
        Inpainting(window=(240, -160))
    nothing = Inpainting(gaps=Gaps(lines=0.0, blocks=0.0))
    case = nothing.simulate(record(head()), 0)
    with pytest.raises(UserError, match="nothing is missing"):
        nothing.judge(case, case.degraded)


def test_a_users_file_is_filled_and_known_samples_are_the_files_own(tmp_path) -> None:
    task = Inpainting()
    hu = np.random.default_rng(0).normal(40, 100, (2, 24, 20)).astype(np.float32)
    hu[:, 10:14] = hu[1, 2:6, 5:9] = -1500
    nib.save(nib.Nifti1Image(hu.T.copy(), np.eye(4)), tmp_path / "holes.nii.gz")

    @jax.jit
    def guess(image):
        return task.decode(task.encode(image[None, ..., None])[..., :1])[0, ..., 0]

    restore_file(
        lambda image: np.asarray(guess(image)),
        task,
        tmp_path / "holes.nii.gz",
        tmp_path / "filled.nii.gz",
        description="filled",
        modality="CT",
    )
    holes, filled = (read_scan(tmp_path / f"{n}.nii.gz", "CT").array for n in ("holes", "filled"))
    missing = holes <= -1500
    assert missing.sum() == 2 * 4 * 20 + 16
    np.testing.assert_array_equal(filled[~missing], holes[~missing])
    assert filled[missing].min() > -500
