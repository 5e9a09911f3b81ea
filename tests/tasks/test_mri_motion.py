"""The MRI motion task: patches agree with whole volumes, values come back in their own scale."""

import dataclasses

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from medjax.data import pipeline
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.physics.mri import MotionModel, line_mask
from medjax.restore import restore_file
from medjax.tasks.mri_motion import MRIMotion
from medjax.tasks.patches import cut

QUICK = MRIMotion(motion=MotionModel(3, 2.0, 2.0, jump_probability=1.0), draws=3)
PLAIN = dataclasses.replace(QUICK, noise=0.0, gain=(1.0, 1.0))


def head(scale: float = 1.0) -> np.ndarray:
    """An ellipsoid with a ventricle, in arbitrary intensities."""
    z, y, x = np.mgrid[:20, :24, :18] - np.array([9.5, 11.5, 8.5]).reshape(3, 1, 1, 1)
    image = np.where((z / 7) ** 2 + (y / 9) ** 2 + (x / 7) ** 2 < 1, 0.7, 0.0)
    image += 0.3 * (np.abs(y) < 3) * (np.abs(x) < 2) * (np.abs(z) < 4)
    return (scale * ndimage.gaussian_filter(image, 0.7)).astype(np.float32)


def record(scale: float = 300.0, case: str = "a", unit: str = "", mm: float = 8.0) -> dict:
    spacing = np.full(3, mm, np.float32)
    return {
        "image": head(scale), "spacing": spacing, "case": case, "unit": unit, "index": 0
    }  # fmt: skip


def raw_of(task: MRIMotion, scan: dict, corners: list, patch: tuple) -> dict:
    """A batch as the pipeline stacks it."""
    examples = [
        {"image": cut(scan["image"], c, patch)[..., None], **task.context(scan, c, patch)}
        for c in corners
    ]
    return {k: jnp.asarray(np.stack([e[k] for e in examples])) for k in examples[0]}


def test_a_patch_is_a_part_of_one_of_the_corrupted_volumes() -> None:
    scan, whole = record(), (20, 24, 18)
    volumes = {
        PLAIN.context(scan, corner, (4, 6, 8))["degraded"].tobytes(): corner
        for corner in np.ndindex(6, 3, 3)
    }
    assert len(volumes) == 54
    draws = {PLAIN._training_draw(scan, n).tobytes(): n for n in range(3)}
    assert len(draws) == 3
    for corner in ((0, 0, 0), (5, 2, 1), (7, 9, 3)):
        patch = PLAIN.context(scan, corner, (4, 6, 8))["degraded"][..., 0]
        place = tuple(slice(c, c + p) for c, p in zip(corner, (4, 6, 8), strict=True))
        found = [
            n
            for data, n in draws.items()
            if np.array_equal(np.frombuffer(data, np.float32).reshape(whole)[place], patch)
        ]
        assert len(found) == 1


def test_context_is_the_same_in_another_task_object_and_thread_cache() -> None:
    scan = record()
    first, again = (
        dataclasses.replace(QUICK).context(scan, (2, 3, 1), (8, 8, 8))["degraded"] for _ in "ab"
    )
    np.testing.assert_array_equal(first, again)
    other = dataclasses.replace(QUICK, seed=1).context(scan, (2, 3, 1), (8, 8, 8))["degraded"]
    assert np.abs(first - other).max() > 1e-3


def test_pairs_are_normalised_mirrored_alike_and_differ_only_by_motion() -> None:
    scan = record()
    raw = raw_of(PLAIN, scan, [(0, 0, 0)] * 12, (20, 24, 18))
    pair = jax.jit(PLAIN.prepare)(raw, jax.random.key(0))
    clean, _ = PLAIN.normalise(scan["image"])
    degraded = np.asarray(raw["degraded"][0, ..., 0])
    flips = [tuple(a for a in range(3) if bits >> a & 1) for bits in range(8)]
    seen = set()
    for moved, still in zip(pair.degraded[..., 0], pair.clean[..., 0], strict=True):
        same = [
            f
            for f in flips
            if np.allclose(np.flip(degraded, f), moved, atol=1e-5)
            and np.allclose(np.flip(clean, f), still, atol=1e-5)
        ]
        assert same
        seen.add(same[0])
    assert len(seen) > 2


def test_gain_and_noise_are_those_of_the_settings() -> None:
    task = dataclasses.replace(QUICK, gain=(0.5, 2.0), noise=0.05)
    raw = raw_of(task, record(), [(0, 0, 0)] * 8, (20, 24, 18))
    raw["degraded"] = raw["image"] / raw["level"].reshape(-1, 1, 1, 1, 1)
    pair = jax.jit(task.prepare)(raw, jax.random.key(3))
    gains = np.asarray(pair.clean).max(axis=(1, 2, 3, 4)) / float(raw["degraded"].max())
    assert gains.min() < 0.9 < 1.2 < gains.max() <= 2.0
    air = np.asarray(pair.degraded)[np.asarray(pair.clean) < 1e-6]
    assert air.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.03)


def test_held_out_volumes_move_but_stay_in_place() -> None:
    scan = record()
    case = QUICK.simulate(scan, 5)
    again, other = QUICK.simulate(scan, 5), QUICK.simulate(scan, 6)
    np.testing.assert_array_equal(case.degraded, again.degraded)
    assert np.abs(case.degraded - other.degraded).max() > 0.01
    values = QUICK.judge(case, case.degraded)
    perfect = QUICK.judge(case, case.reference)
    assert set(values) == {c.key for c in QUICK.columns}
    assert values["mae_percent"] > 2 and perfect["mae_percent"] == 0
    assert values["ghost_percent"] > perfect["ghost_percent"]
    still = dataclasses.replace(QUICK, noise=0.0, motion=MotionModel(3, 0.0, 0.0))
    np.testing.assert_allclose(still.simulate(scan, 0).degraded, case.reference, atol=1e-5)


def test_psnr_is_scikit_images() -> None:
    case = QUICK.simulate(record(), 1)
    expected = peak_signal_noise_ratio(case.reference, case.degraded, data_range=1.0)
    assert QUICK.judge(case, case.degraded)["psnr"] == pytest.approx(expected, abs=1e-3)


def test_restoring_does_not_depend_on_the_scale_of_the_file(tmp_path) -> None:
    def soften(image: np.ndarray) -> np.ndarray:
        return np.clip(image, 0, 0.5)

    outs = []
    for scale in (1.0, 4000.0):
        source, target = (tmp_path / f"{name}-{scale:g}.nii.gz" for name in ("in", "out"))
        nib.save(nib.Nifti1Image(head(scale).T, np.diag([8.0, 8.0, 8.0, 1.0])), source)
        restore_file(soften, QUICK, source, target, description="softened")
        outs.append(read_scan(target).array / scale)
    np.testing.assert_allclose(*outs, rtol=1e-5, atol=1e-6)
    assert 0.3 < outs[0].max() < 0.7


def test_the_pipeline_feeds_slices_and_slabs() -> None:
    slices = dataclasses.replace(QUICK, slicewise=True)
    for task, patch in ((QUICK, (4, 16, 16)), (slices, (1, 30, 16))):
        batches = pipeline.batches(
            [record(), record(case="b")],
            batch_size=2,
            patch=patch,
            seed=0,
            context=lambda r, c, task=task, patch=patch: task.context(r, c, patch),
        )
        raw = {k: jnp.asarray(v) for k, v in next(batches).items()}
        pair = jax.jit(task.prepare)(raw, jax.random.key(0))
        assert pair.degraded.shape == pair.clean.shape == (2, *patch, 1)
    assert QUICK.network_dims == 3 and slices.network_dims == 2


def test_patches_beyond_the_volume_are_continued_as_the_pipeline_does() -> None:
    image = np.arange(30, dtype=np.float32).reshape(5, 6)
    rng = np.random.default_rng(0)
    patch, corner = pipeline.random_patch(image, (8, 4), -1.0, pipeline.PatchChoice(), rng)
    np.testing.assert_array_equal(cut(image, corner, (8, 4)), patch)


@pytest.mark.parametrize(
    ("scan", "advice"), [(record(unit="HU"), "--dims 3"), (record(mm=np.nan), "voxel")]
)
def test_scans_that_do_not_serve_are_refused_with_advice(scan: dict, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        QUICK.check(scan)


@pytest.mark.parametrize(
    "wrong", [{"severity": (1.0, 0.5)}, {"phase_axis": 3}, {"draws": 0}, {"gain": (-1.0, 1.0)}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="task"):
        MRIMotion(**wrong)


STILL = dataclasses.replace(PLAIN, motion=MotionModel(1, 0.0, 0.0))


def test_lines_left_out_of_a_still_scan_are_those_of_the_mask() -> None:
    task = dataclasses.replace(STILL, acceleration=2.0)
    case = task.simulate(record(), 0)
    whole = np.fft.fftshift(np.fft.fft(case.reference, axis=1), axes=1)
    kept = line_mask(24, 2.0, 3)
    assert kept.sum() == 12
    part = np.fft.ifft(np.fft.ifftshift(whole * kept[:, None], axes=1), axis=1)
    np.testing.assert_allclose(case.degraded, np.abs(part), atol=1e-3)
    assert np.abs(case.degraded - case.reference).max() > 0.05


def test_the_coil_is_smooth_and_not_in_the_reference() -> None:
    scan = record()
    case = dataclasses.replace(STILL, bias=0.2).simulate(scan, 0)
    plain = STILL.simulate(scan, 0)
    np.testing.assert_array_equal(case.reference, plain.reference)
    inside = ndimage.binary_erosion(case.reference > 0.3, iterations=2)
    log = np.log(case.degraded[inside] / case.reference[inside])
    assert 0.03 < log.std() < 0.4
    field = np.where(
        inside, np.log(np.maximum(case.degraded, 1e-3) / np.maximum(case.reference, 1e-3)), 0
    )
    steps = np.abs(np.diff(field, axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert steps.max() < 0.2


@pytest.mark.parametrize("wrong", [{"acceleration": 0.5}, {"bias": -0.1}])
def test_a_scan_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        dataclasses.replace(QUICK, **wrong)
