"""The fMRI task: context, patches, whole series, judgement, and a tiny run from end to end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medjax import run
from medjax.build import fold
from medjax.data import catalog, pipeline
from medjax.data.builder import DatasetInfo
from medjax.errors import UserError
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import CGAN, MethodConfig, Regression
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.physics.fmri import Activity, HeadMotion, Scanner
from medjax.tasks.fmri import MARGIN, FMRISeries

QUIET = Scanner(motion=HeadMotion(events=0.0, breathing_mm=0.0), dropouts=0.0)
NOTHING = Activity(percent=0.0, waves_percent=0.0)
TINY_CGAN = CGAN(discriminator=PatchGANConfig(width=2, layers=1, norm="none"), ema_decay=0.5)


def record(shape=(12, 5, 26, 30), seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    head = ndimage.gaussian_filter(rng.normal(size=shape[1:]), (0.7, 2, 2))
    head = 800 + 3000 * head / np.abs(head).max() * (np.arange(shape[1]) % 2 + 1)[:, None, None]
    head = np.clip(head, 0, None)
    head[:, :3] = 0
    return {
        "image": np.repeat(head[None], shape[0], 0).astype(np.float32),
        "spacing": np.array([2, 5, 3, 3], np.float32),
        "case": "one",
        "subject": "one",
        "modality": "MR",
        "unit": "",
        "index": 0,
    }


def raw_batch(task: FMRISeries, one: dict, patch: tuple[int, ...], batch: int = 2) -> dict:
    wide = tuple(p + 2 * m for p, m in zip(patch, task.margin(patch), strict=True))
    batches = pipeline.batches(
        [one],
        batch_size=batch,
        patch=wide,
        seed=0,
        threads=0,
        context=functools.partial(task.context, patch=wide),
    )
    return {k: jnp.asarray(v) for k, v in next(batches).items()}


@pytest.mark.parametrize("shape", [(12, 5, 26, 30), (4, 1, 26, 30), (1, 3, 9, 8)])
def test_context_names_the_sources_of_what_was_continued(shape) -> None:
    """numpy.pad itself says which samples of a patch show the same place."""
    task, patch = FMRISeries(), (8, 4, 8, 8)
    wide = tuple(p + 2 * m for p, m in zip(patch, task.margin(patch), strict=True))
    one = record(shape)
    names = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found, corner = pipeline.random_patch(
        names, wide, -1.0, pipeline.PatchChoice(tries=1), np.random.default_rng(3)
    )
    context = task.context(one, corner, wide)
    inner = found[(slice(None), *(slice(MARGIN, -MARGIN),) * 3)]
    taken = inner
    for axis, name in enumerate("tzyx"):
        taken = np.take(taken, context[f"first_{name}"], axis)
    np.testing.assert_array_equal(taken, inner)
    # As many places are kept as the patch shows different samples.
    kept = [len(np.unique(context[f"first_{name}"])) for name in "tzyx"]
    assert np.prod(kept) == len(np.unique(inner))
    middle = (np.array(shape[1:]) - 1) / 2
    np.testing.assert_allclose(context["centre"] + np.array(corner[1:]), middle)


@pytest.fixture(scope="module")
def corrupted():
    """Compiled once: everything goes wrong, often."""
    task = FMRISeries(train_scanner=Scanner(dropouts=0.3))
    prepare = jax.jit(task.prepare)
    return lambda one, seed: (
        raw := raw_batch(task, one, (8, 4, 16, 16)),
        np.asarray(prepare(raw, jax.random.key(seed)).degraded),
    )


def test_copies_show_no_more_than_their_originals(corrupted) -> None:
    """A single slice and 4 volumes, continued: noise and dropouts of the copies must not help."""
    raw, degraded = corrupted(record((4, 1, 26, 30)), 0)
    assert np.ptp(degraded) > 0.1
    np.testing.assert_array_equal(degraded[:, :, 1:], degraded[:, :, :-1])
    first = np.asarray(raw["first_t"])[0]
    assert len(np.unique(first)) == 4
    np.testing.assert_array_equal(degraded[..., 0], degraded[..., 0][:, first])


def test_every_step_degrades_anew_and_each_patch_otherwise(corrupted) -> None:
    one = record()
    first, again, other = (corrupted(one, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05
    assert np.isfinite(first).all()


def test_patches_are_those_of_the_record_without_trouble() -> None:
    task = FMRISeries(
        train_scanner=QUIET, activity=NOTHING, train_noise=(1e-6, 1e-6), gain=(1.0, 1.0)
    )
    raw = raw_batch(task, record(), (8, 4, 16, 12))
    pair = jax.jit(task.prepare)(raw, jax.random.key(1))
    assert pair.degraded.shape == (2, 8, 4, 16, 12, 2) and pair.clean.shape == (2, 8, 4, 16, 12, 1)
    np.testing.assert_allclose(pair.degraded[..., :1], pair.clean, atol=1e-4)
    inner = raw["image"][:, :, MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN]
    # Mirrored or not, the values are the same.
    given = np.sort(np.ravel(inner / raw["signal"][:, None, None, None, None, None]))
    np.testing.assert_allclose(np.sort(np.ravel(task.decode(pair.clean))), given, atol=1e-5)


def test_simulation_is_still_under_the_activity() -> None:
    task = FMRISeries(scanner=QUIET, noise=0.0)
    case = task.simulate(record(), 0)
    np.testing.assert_allclose(case.degraded, case.reference, rtol=1e-5)
    change = case.reference / np.maximum(case.reference[0], 1e-9) - 1
    assert 0.01 < change.max() < 0.06
    two = FMRISeries().simulate(record(), 0), FMRISeries().simulate(record(), 1)
    np.testing.assert_array_equal(two[0].reference, two[1].reference)
    assert np.abs(two[0].degraded - two[1].degraded).max() > 0.05
    assert case.spacing == (2, 5, 3, 3)


def test_noise_alone_has_the_stated_level() -> None:
    case = FMRISeries(scanner=QUIET, noise=0.02).simulate(record(), 0)
    bright = case.reference > 0.5
    assert np.std((case.degraded - case.reference)[bright]) == pytest.approx(0.02, rel=0.03)
    assert case.noise_std == 0.02


def test_judged_as_scikit_image_and_numpy_do() -> None:
    task = FMRISeries()
    case = task.simulate(record(), 3)
    values = task.judge(case, case.degraded)
    a, b = np.clip(case.degraded, 0, 1.6), np.clip(case.reference, 0, 1.6)
    assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.6), abs=1e-3)
    each = [
        structural_similarity(
            x, y, data_range=1.6, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(a.reshape(-1, 26, 30), b.reshape(-1, 26, 30), strict=True)
    ]
    assert values["ssim"] == pytest.approx(np.mean(each), abs=1e-4)
    assert set(values) == {c.key for c in task.columns}
    perfect = task.judge(case, case.reference)
    assert perfect["rmse_percent"] == 0 and perfect["activation_r"] == pytest.approx(1)
    assert values["activation_r"] < 0.9 and values["time_r"] < 0.9


def test_normalised_series_come_back() -> None:
    series = record()["image"]
    values, undo = FMRISeries().normalise(series)
    brain = values[values > 0.5]
    assert 0.7 < brain.mean() < 1.3
    np.testing.assert_allclose(undo(values), series, rtol=1e-6)


def test_scans_that_are_no_series_are_refused_with_advice() -> None:
    flat = {**record(), "image": record()["image"][0]}
    with pytest.raises(UserError, match="--dims 4"):
        FMRISeries().check(flat)
    unknown = {**record(), "spacing": np.array([np.nan, 3, 3, 3], np.float32)}
    with pytest.raises(UserError, match="repetition time"):
        FMRISeries().check(unknown)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="train_noise"):
        FMRISeries(train_noise=(0.1, 0.01))
    with pytest.raises(UserError, match="must rise"):
        FMRISeries(window=(1.0, 0.0))


@pytest.mark.parametrize(
    ("volumewise", "method", "depth"),
    [
        (False, Regression(ema_decay=0.5), 0),
        pytest.param(False, TINY_CGAN, 1, marks=pytest.mark.slow),
        pytest.param(True, TINY_CGAN, 1, marks=pytest.mark.slow),
    ],
)
def test_a_tiny_run_from_end_to_end(
    volumewise: bool, method: MethodConfig, depth: int, tmp_path, monkeypatch
) -> None:
    one = record((7, 3, 14, 13))
    info = DatasetInfo("tiny", "1.0.0", "none", "made up", "MR", "", 4)
    dataset = catalog.Dataset("tiny", {"train": [one], "test": [record((7, 3, 14, 13), 1)]}, info)
    monkeypatch.setattr(catalog, "load", lambda name: dataset)
    experiment = Experiment(
        name="tiny",
        summary="",
        task=FMRISeries(volumewise=volumewise),
        network=UNetConfig(width=2, depth=depth, convs_per_level=1, norm="none"),
        method=method,
        data=Data(name="tiny", patch=(6, 6, 8, 8), batch=1, threads=0),
        schedule=Schedule(steps=2),
        tiling=Tiling(size=(6, 4, 8, 8), overlap=(2, 1, 2, 2), batch=2),
        keep=Keep(save_every=2, log_every=1),
        devices=1,
    )
    folder = tmp_path / "run"
    run.train(experiment, folder)
    opened = run.open_run(folder)
    assert opened.step == 2
    series = dataset.split("test")[0]["image"] / 1000
    restored = opened.restore(series)
    assert restored.shape == series.shape
    # Two steps from the identity: a tile in the wrong place would be far off.
    assert np.abs(restored - series).max() < 0.2
    results = run.evaluate(folder, opened)
    values = {row.method: row.values for row in results.rows}
    label = experiment.method.label
    assert {label, *FMRISeries.filters} < set(values)
    assert values[label]["psnr"] > values["corrupted series"]["psnr"] - 1
    assert "the one that suffered most" in (folder / "report.html").read_text()


def test_volumes_join_the_batch_for_a_network_of_volumes() -> None:
    task = FMRISeries(volumewise=True)
    series = jnp.arange(2 * 5 * 3 * 4 * 6, dtype=jnp.float32).reshape(2, 5, 3, 4, 6, 1)
    folded = fold(series, task.network_dims)
    np.testing.assert_array_equal(folded[7], series[1, 2])
    assert fold(series, FMRISeries().network_dims).shape == series.shape
