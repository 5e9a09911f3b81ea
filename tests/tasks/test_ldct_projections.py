"""Low-dose CT with projections: what networks are given agrees with the physics; a whole run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest

from medjax import run
from medjax.data import pipeline
from medjax.data.augment import Augment
from medjax.data.builder import DatasetInfo, write_dataset
from medjax.errors import UserError
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.io import read_scan
from medjax.methods.base import Pair
from medjax.methods.config import DualDomain, Regression
from medjax.models.attention_net import AttentionNetConfig
from medjax.models.ddanet import DDANetConfig
from medjax.physics.ct import FanBeam, ParallelBeam, fbp, hu_to_mu, project
from medjax.restore import restore_file
from medjax.tasks.ldct_projection_volumes import LowDoseProjectionVolumes
from medjax.tasks.ldct_projections import LowDoseProjections

SIZE = 32
PARALLEL = ParallelBeam.for_image(SIZE, 3.0, views=48)
FAN = FanBeam.for_image(SIZE, 3.0, views=64)
STILL = Augment(warp_probability=0.0, intensity_probability=0.0, flip=False)
NET = AttentionNetConfig(width=2, depth=1)


def body(size: int, shift: float = 0.0) -> np.ndarray:
    """A water ellipse with a disc of bone, in HU."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) / size
    hu = np.where((x / 0.4) ** 2 + (y / 0.3) ** 2 < 1, 20.0, -1000.0)
    hu[np.hypot(x - 0.1 - shift, y) < 0.08] = 400
    return hu.astype(np.float32)


def record(image: np.ndarray, mm: float = 2.0) -> dict:
    spacing = np.full(image.ndim, mm, np.float32)
    names = {"case": "phantom", "subject": "phantom", "modality": "CT", "unit": "HU", "index": 0}
    return {"image": image, "spacing": spacing, **names}


def batch(task, records, count: int = 4, patch=(SIZE, SIZE)) -> dict:
    size = tuple(p + 2 * m for p, m in zip(patch, task.margin(patch), strict=True))
    context = functools.partial(task.context, patch=size)
    batches = pipeline.batches(
        records, batch_size=count, patch=size, seed=0, context=context, threads=0
    )
    return {k: jnp.asarray(v) for k, v in next(batches).items()}


@functools.cache
def prepared(geometry, dual: bool = True) -> Pair:
    """Two projected patches, then two slices of 2 mm a pixel on a scanner of 3 mm."""
    task = LowDoseProjections(geometry=geometry, augment=STILL, dual=dual)
    return jax.jit(task.prepare)(batch(task, [record(body(64))]), jax.random.key(0))


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_the_image_is_the_backprojection_of_its_sinogram(geometry) -> None:
    pair = prepared(geometry)
    assert {k: v.shape for k, v in pair.degraded.items()} == {
        "image": (4, SIZE, SIZE, 2),
        "sinogram": (4, geometry.views, geometry.detectors, 1),
        "level": (4, geometry.views, geometry.detectors, 1),
    }
    air = (-1000 + 160) / 400
    for domain in pair:
        seen = fbp(geometry, domain["sinogram"][2:]) + air
        np.testing.assert_allclose(seen, domain["image"][2:, ..., :1], atol=5e-3)
    noise = (pair.degraded["sinogram"] - pair.clean["sinogram"])[2:] / pair.degraded["level"][2:]
    assert float(noise.std()) == pytest.approx(1, abs=0.1)


def test_the_projected_share_of_a_batch_is_projected_images() -> None:
    pair, task = prepared(PARALLEL), LowDoseProjections(geometry=PARALLEL)
    expected = task.encode(task.decode(pair.degraded["image"][:2, ..., :1]))
    np.testing.assert_allclose(pair.degraded["sinogram"][:2], expected["sinogram"], atol=0.01)
    assert np.abs(pair.clean["image"] - pair.degraded["image"][..., :1]).mean() > 1e-3


def test_networks_of_the_image_alone_get_the_image_alone() -> None:
    both, alone = prepared(PARALLEL), prepared(PARALLEL, dual=False)
    np.testing.assert_allclose(both.degraded["image"], alone.degraded, atol=1e-5)
    np.testing.assert_allclose(both.clean["image"], alone.clean, atol=1e-5)


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_held_out_slices_come_with_their_projections(geometry) -> None:
    task = LowDoseProjections(geometry=geometry, dose=0.1)
    case, again = (task.simulate(record(body(64)[4:]), 0) for _ in range(2))
    np.testing.assert_array_equal(case.given["sinogram"], again.given["sinogram"])
    assert case.degraded.shape == (SIZE, SIZE) and case.spacing == (4.0, 4.0)
    # Line integrals through pixels of 4 mm: 60 samples of 2 mm, filled up to 64, on 32.
    scaled = case.given["sinogram"][None, ..., None] * (3.0 / 4.0)
    hu = (np.asarray(fbp(geometry, scaled))[0, ..., 0] / 0.02 - 1) * 1000
    np.testing.assert_allclose(hu, case.degraded, atol=0.5)
    encoded = task.encode(_one(case.given))
    np.testing.assert_allclose(
        fbp(geometry, encoded["sinogram"])[0, ..., 0] - 2.1, encoded["image"][0, ..., 0], atol=5e-3
    )
    alone = dataclasses.replace(task, measured=False).simulate(record(body(64)[4:]), 0)
    assert alone.given is None
    np.testing.assert_array_equal(alone.network_input, case.degraded)


def _one(given: dict) -> dict:
    return {k: v[None] if v.ndim == 0 else v[None, ..., None] for k, v in given.items()}


def test_an_image_alone_is_projected_in_the_virtual_geometry() -> None:
    task = LowDoseProjections(geometry=PARALLEL)
    hu = jnp.asarray(body(SIZE))[None, ..., None]
    given = task.encode(hu)
    # The network's unit is the window of 400 HU.
    rays = project(PARALLEL, hu_to_mu(hu)) * (1000 / 0.02 / 400)
    np.testing.assert_allclose(given["sinogram"], rays, rtol=1e-5)
    assert float(given["level"].min()) > 0
    with pytest.raises(UserError, match="size to 32"):
        task.encode(jnp.zeros((1, 16, 16, 1)))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="projected"):
        LowDoseProjections(projected=1.5)
    with pytest.raises(UserError, match="odd"):
        LowDoseProjectionVolumes(slices=2)
    with pytest.raises(UserError, match="must be 3 32 32"):
        LowDoseProjectionVolumes(geometry=PARALLEL).margin((1, SIZE, SIZE))


def volume() -> np.ndarray:
    return np.stack([body(SIZE, shift) for shift in (0.0, 0.05, 0.1, 0.15)])


@pytest.mark.parametrize("dual", [True, False])
def test_a_slice_of_a_volume_comes_first_and_then_its_neighbours(dual: bool) -> None:
    task = LowDoseProjectionVolumes(geometry=PARALLEL, augment=STILL, dual=dual)
    seen = task.encode(jnp.asarray(volume())[None, ..., None])
    images = seen["image"] if dual else seen
    assert images.shape == (4, SIZE, SIZE, 6)
    shown = task.decode(images[..., :3])
    for z, order in enumerate([(0, 0, 1), (1, 0, 2), (2, 1, 3), (3, 2, 3)]):
        for channel, wanted in enumerate(order):
            np.testing.assert_allclose(shown[z, ..., channel], volume()[wanted], atol=1e-3)
    raw = batch(task, [record(volume())], patch=(3, SIZE, SIZE))
    pair = jax.jit(task.prepare)(raw, jax.random.key(0))
    degraded = pair.degraded["image"] if dual else pair.degraded
    clean = pair.clean["image"] if dual else pair.clean
    assert degraded.shape == (4, SIZE, SIZE, 6) and clean.shape == (4, SIZE, SIZE, 1)
    assert np.abs(degraded[..., :1] - clean).mean() < np.abs(degraded[..., 1:2] - clean).mean()


def test_volumes_are_scanned_slice_by_slice() -> None:
    task = LowDoseProjectionVolumes(geometry=PARALLEL)
    case = task.simulate(record(volume()), 0)
    assert case.degraded.shape == case.reference.shape == (4, SIZE, SIZE)
    assert case.given["sinogram"].shape == (4, PARALLEL.views, PARALLEL.detectors)
    encoded = task.encode(_one(case.given))
    assert encoded["sinogram"].shape == (4, PARALLEL.views, PARALLEL.detectors, 3)
    assert np.corrcoef((case.degraded - case.reference)[:2].reshape(2, -1))[0, 1] < 0.2
    assert task.judge(case, case.reference)["rmse_hu"] == 0


def experiment(dims: int, dual: bool) -> Experiment:
    kind = LowDoseProjections if dims == 2 else LowDoseProjectionVolumes
    slices = 1 if dims == 2 else 3
    patch = (slices, SIZE, SIZE)[-dims:]
    return Experiment(
        name="tiny",
        summary="",
        task=kind(geometry=PARALLEL, dual=dual, augment=STILL),
        network=DDANetConfig(PARALLEL, slices=slices, sinogram=NET, image=NET) if dual else NET,
        method=DualDomain() if dual else Regression(),
        data=Data(name="bodies", patch=patch, batch=2),
        schedule=Schedule(steps=2, peak=1e-2),
        tiling=Tiling(size=patch, overlap=(0, 4, 4)[-dims:]),
        keep=Keep(save_every=2, log_every=1),
    )


@pytest.mark.parametrize(
    ("dims", "dual"),
    [
        (2, True),
        pytest.param(2, False, marks=pytest.mark.slow),
        pytest.param(3, True, marks=pytest.mark.slow),
    ],
)
def test_from_training_to_a_restored_file(tmp_path, monkeypatch, dims: int, dual: bool) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    scans = [record(body(48, s) if dims == 2 else volume(), 3.0) for s in (0.0, 0.1)]
    info = DatasetInfo("bodies", "1.0.0", "none", "made up", "CT", "HU", dims=dims)
    write_dataset(info, {"train": [lambda: scans], "test": [lambda: scans[1:]]})
    wanted = experiment(dims, dual)
    assert run.train(wanted, tmp_path / "run").step == 2
    trained = run.open_run(tmp_path / "run")
    assert trained.experiment == wanted
    if dims == 2:
        results = run.evaluate(tmp_path / "run", trained)
        assert {"low-dose FBP", "NLM", wanted.method.label} < {row.method for row in results.rows}
    # An image that has no projections, larger than the network's grid.
    source, target = tmp_path / "in.nii.gz", tmp_path / "out.nii.gz"
    image = body(48) if dims == 2 else volume()
    noisy = image + 5 * np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    array = noisy.T[..., None] if dims == 2 else noisy.T
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0])), source)
    restore_file(
        trained.restore, wanted.task, source, target, description="restored", modality="CT"
    )
    restored = read_scan(target, "CT").array.reshape(image.shape)
    assert not np.array_equal(restored, noisy)
    assert np.abs(restored - noisy).mean() < 30
