"""Low-dose CT region by region: what networks are given agrees with a scan of the whole slice."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import run
from medjax.build import method_of
from medjax.data import pipeline
from medjax.data.augment import Augment
from medjax.data.builder import DatasetInfo, write_dataset
from medjax.errors import UserError
from medjax.evaluate import Tiling, mirror_ensemble
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import BiasConstrained
from medjax.methods.base import Pair
from medjax.methods.config import DualDomain
from medjax.models.attention_net import AttentionNetConfig
from medjax.models.ddanet import DDANetConfig
from medjax.physics.ct import FanBeam, ParallelBeam, fbp, hu_to_mu, project
from medjax.physics.ct_strips import region_of, strip_offsets
from medjax.tasks.ldct_regions import LowDoseRegions

SIZE, SIDE, VIEWS = 48, 16, 32
REGION = region_of(ParallelBeam.for_image(SIZE, 2.0, VIEWS), SIDE)
STILL = Augment(warp_probability=0.0, flip=False)
TASK = LowDoseRegions(geometry=REGION, augment=STILL, draws=1, projected=0.5)
NET = AttentionNetConfig(width=2, depth=0)


def body(rows: int = SIZE, columns: int = SIZE) -> np.ndarray:
    """A water ellipse with a disc of bone, in HU."""
    y, x = (np.mgrid[:rows, :columns] - 23.5) / SIZE
    hu = np.where((x / 0.4) ** 2 + (y / 0.3) ** 2 < 1, 20.0, -1000.0)
    hu[np.hypot(x - 0.1, y) < 0.08] = 400
    return hu.astype(np.float32)


def record(image: np.ndarray, mm: float = 2.0) -> dict:
    names = {"case": "phantom", "subject": "phantom", "modality": "CT", "unit": "HU", "index": 0}
    return {"image": image, "spacing": np.full(2, mm, np.float32), **names}


def batch(task: LowDoseRegions, image: np.ndarray, count: int = 4) -> dict:
    context = functools.partial(task.context, patch=(SIDE, SIDE))
    batches = pipeline.batches(
        [record(image)], batch_size=count, patch=(SIDE, SIDE), seed=0, context=context, threads=0
    )
    return {k: jnp.asarray(v) for k, v in next(batches).items()}


@functools.cache
def prepared(dual: bool = True) -> Pair:
    """Two regions that are projected, then two that come with measured projections."""
    task = dataclasses.replace(TASK, dual=dual)
    return jax.jit(task.prepare)(batch(task, body()), jax.random.key(0))


def test_regions_come_with_the_strips_through_them() -> None:
    raw = batch(TASK, body())
    whole = TASK.whole(SIZE)
    seen = np.asarray(project(whole, hu_to_mu(body())[None, ..., None], 2.0))[0, ..., 0]
    reference = (np.asarray(fbp(whole, seen[None, ..., None], pixel_mm=2.0)) / 0.02 - 1) * 1000
    for image, rays, offsets in zip(raw["reference"], raw["rays"], raw["offsets"], strict=True):
        # Which region it is, from where its rays run in the first two kinds of view.
        middle = np.asarray(offsets)[:, :, 0].mean(1)
        column, row = middle[0], middle[VIEWS // 2]
        first = [round(float(c - (SIDE - SIZE) / 2)) for c in (row, column)]
        np.testing.assert_allclose(offsets[..., 0], strip_offsets(whole, REGION, (row, column)))
        cut = reference[0, first[0] : first[0] + SIDE, first[1] : first[1] + SIDE, 0]
        np.testing.assert_allclose(image[..., 0], cut, atol=0.5)
        at = np.asarray(offsets)[..., 0] + (whole.detectors - 1) / 2
        expected = [
            np.interp(x, np.arange(whole.detectors), p) for x, p in zip(at, seen, strict=True)
        ]
        # Linear interpolation differs at the object's edges only.
        assert np.median(np.abs(rays[..., 0] - np.stack(expected))) < 0.01 * seen.max()


def test_noise_is_that_of_the_level_in_both_domains() -> None:
    pair = prepared()
    shapes = {name: x.shape for name, x in pair.degraded.items()}
    rays = (4, VIEWS, REGION.detectors, 1)
    assert shapes == {"image": (4, SIDE, SIDE, 2), "sinogram": rays, "level": rays}
    noise = (pair.degraded["sinogram"] - pair.clean["sinogram"])[2:]
    assert float((noise / pair.degraded["level"][2:]).std()) == pytest.approx(1, abs=0.1)
    backprojected = fbp(REGION, noise)
    seen = (pair.degraded["image"][..., :1] - pair.clean["image"])[2:]
    # All of the image's noise but the part that other detectors would have given it.
    assert float((seen - backprojected).std() / seen.std()) == pytest.approx(0.16, abs=0.05)


def test_the_projected_share_of_a_batch_is_projected_images() -> None:
    pair = prepared()
    expected = TASK.encode(TASK.decode(pair.degraded["image"][:2, ..., :1]))
    np.testing.assert_allclose(pair.degraded["sinogram"][:2], expected["sinogram"], atol=0.01)


def test_networks_of_the_image_alone_get_the_image_alone() -> None:
    both, alone = prepared(), prepared(dual=False)
    np.testing.assert_allclose(both.degraded["image"], alone.degraded, atol=1e-5)
    np.testing.assert_allclose(both.clean["image"], alone.clean, atol=1e-5)


@pytest.mark.parametrize("dual", [True, False])
def test_noise_draws_of_a_region_lie_side_by_side(dual: bool) -> None:
    task = dataclasses.replace(TASK, dual=dual, noises=2)
    assert task.paired and not TASK.paired
    pair = jax.jit(task.prepare)(batch(task, body(), 3), jax.random.key(1))
    clean, degraded = ((x["image"] if dual else x)[..., :1] for x in (pair.clean, pair.degraded))
    assert len(clean) == 6
    np.testing.assert_allclose(clean[::2], clean[1::2], atol=1e-5)
    a, b = ((degraded - clean)[i::2] for i in (0, 1))
    for one, other in zip(a, b, strict=True):
        # As strong, since dose and brightness are the same, and independent.
        assert 0.7 < float(one.std() / other.std()) < 1.4
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.35


def test_a_loss_of_two_draws_wants_a_task_that_gives_two() -> None:
    experiment = Experiment("e", "s", TASK, DDANetConfig(), DualDomain(), BiasConstrained())
    with pytest.raises(UserError, match=r"BiasConstrained .* task\.noises 2"):
        method_of(experiment)
    twice = dataclasses.replace(experiment, task=dataclasses.replace(TASK, noises=2))
    assert method_of(twice)
    with pytest.raises(UserError, match=r"task\.noises 0"):
        dataclasses.replace(TASK, noises=0)


def test_mirrored_regions_have_mirrored_strips() -> None:
    task = dataclasses.replace(TASK, projected=0.0)
    raw = batch(task, body(), 8)
    pair = jax.jit(task.prepare)(raw, jax.random.key(3))
    # A random brightness changes nothing of which way round an image is.
    same = [
        np.corrcoef(np.ravel(a), np.ravel(b))[0, 1] > 0.999
        for a, b in zip(pair.clean["image"], raw["reference"], strict=True)
    ]
    assert not all(same)
    # Whatever was mirrored, noise in the image is that in the rays, backprojected.
    noise = pair.degraded["sinogram"] - pair.clean["sinogram"]
    seen = pair.degraded["image"][..., :1] - pair.clean["image"]
    apart = (seen - fbp(REGION, noise)).std((1, 2, 3)) / seen.std((1, 2, 3))
    assert float(apart.max()) < 0.3


def test_tiles_of_a_held_out_slice_have_its_rays() -> None:
    case = TASK.simulate(record(body()[4:]), 0)
    assert case.degraded.shape == (SIZE, SIZE) and isinstance(case.given, dict)
    cut = TASK.cutter(case.given, (SIDE, SIDE))
    assert cut is not None
    tile = cut((16, 16), case.degraded[16:32, 16:32, None])
    first = (TASK.whole(SIZE).detectors - REGION.detectors) // 2
    middle = slice(first, first + REGION.detectors)
    for name in ("sinogram", "level"):
        np.testing.assert_allclose(tile[name][..., 0], case.given[name][:, middle], atol=1e-4)


def test_the_mean_over_mirror_images_is_put_back() -> None:
    case = TASK.simulate(record(body()), 0)
    cut = TASK.cutter(case.given, (SIDE, SIDE))
    assert cut is not None
    tile = jax.tree.map(
        lambda x: jnp.asarray(x)[None], cut((20, 6), case.degraded[20:36, 6:22, None])
    )

    def corner_and_rays(given: dict) -> jax.Array:
        # What stays in its place if image and rays are mirrored and put back alike.
        rays = given["sinogram"] - jnp.mean(given["sinogram"])
        return given["image"] + fbp(REGION, rays)

    plain = corner_and_rays(tile)
    mean = mirror_ensemble(corner_and_rays, tile, TASK.mirror)
    np.testing.assert_allclose(mean, plain, atol=1e-2)
    left = mirror_ensemble(lambda given: given["image"].at[:, :, 0].add(1.0), tile, TASK.mirror)
    np.testing.assert_allclose((left - tile["image"])[0, 3, [0, 5, -1], 0], [0.5, 0, 0.5])


def test_a_whole_run_restores_from_projections_and_from_the_image(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    info = DatasetInfo("regions", "1.0.0", "-", "-", "CT", "HU", 2)
    split = lambda: [record(body())]  # noqa: E731
    write_dataset(info, {"train": [split], "test": [split]})
    experiment = Experiment(
        name="regions",
        summary="a trial",
        task=TASK,
        network=DDANetConfig(geometry=REGION, sinogram=NET, image=NET, views_together=4),
        method=DualDomain(),
        data=Data(name="regions", patch=SIDE, batch=2, threads=0),
        schedule=Schedule(steps=1, peak=1e-4, end=1e-5),
        tiling=Tiling(size=SIDE, overlap=4, batch=2, ensemble=True),
        keep=Keep(save_every=1, log_every=1),
    )
    run.train(experiment, tmp_path / "run")
    opened = run.open_run(tmp_path / "run")
    case = TASK.simulate(record(body()), 0)
    # After one small step the network is still nearly the identity.
    for given in (case.network_input, case.degraded):
        restored = opened.restore(given)
        assert 0 < np.abs(restored - case.degraded).max() < 20
    assert not np.array_equal(opened.restore(case.given), opened.restore(case.degraded))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"geometry": FanBeam.for_image(16, 2.0, 32)}, "parallel beam"),
        ({"draws": 0}, "task.draws 0"),
    ],
)
def test_wrong_settings_are_named(change: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        dataclasses.replace(TASK, **change)


def test_patches_must_be_regions() -> None:
    with pytest.raises(UserError, match="must be 16"):
        TASK.margin((32, 32))
