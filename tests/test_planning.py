"""What a training step takes and which settings fit, from shapes alone."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
import pytest

from medjax import cli, planning
from medjax.build import batch_like, batches_of, mesh_of, method_of, training_of
from medjax.errors import UserError
from medjax.experiment import Data, Devices, Experiment, Schedule, find, load
from medjax.methods.base import Pair
from medjax.methods.config import Regression
from medjax.models.unet import UNetConfig
from medjax.tasks.ldct import LowDoseCT
from medjax.train.compiled import program

TINY = Experiment(
    name="tiny",
    summary="",
    task=LowDoseCT(),
    network=UNetConfig(width=2, depth=1, convs_per_level=1, norm="none"),
    method=Regression(),
    data=Data(name="nowhere", patch=16, batch=8),
    schedule=Schedule(steps=100, warmup=10),
)


def scan_of(experiment: Experiment, shape: tuple[int, ...]) -> dict:
    image = np.random.default_rng(0).normal(50, 10, shape).astype(np.float32)
    names = {"case": "a", "subject": "a", "modality": "", "unit": experiment.task.unit}
    return {"image": image, "spacing": np.full(len(shape), 2.0, np.float32), **names, "index": 0}


@pytest.mark.parametrize("name", ["ldct_cgan", "mri_motion_cgan3d", "inpainting_cgan"])
def test_shapes_are_those_of_the_real_pipeline(name: str) -> None:
    experiment = load(find(name), "cpu")
    data = dataclasses.replace(experiment.data, batch=2, patch=16, threads=0)
    experiment = dataclasses.replace(experiment, data=data)
    scan = scan_of(experiment, (24,) * experiment.task.dims)
    real = next(batches_of(experiment, [scan]))
    assert describe(batch_like(experiment)) == describe(real)


def describe(batch: Mapping) -> dict:
    return {name: (tuple(a.shape), np.dtype(a.dtype)) for name, a in batch.items()}


@pytest.fixture(scope="module")
def of_tiny() -> planning.Memory:
    return planning.measure(TINY)


def test_memory_is_that_of_the_state_and_the_batch_beside_what_is_temporary(
    of_tiny: planning.Memory,
) -> None:
    found = of_tiny
    state = jax.eval_shape(
        method_of(TINY).init,
        jax.random.key(0),
        Pair(*(jax.ShapeDtypeStruct((8, 16, 16, c), np.float32) for c in (2, 1))),
    )
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state.ema))
    assert found.parameters == numbers
    # Weights, their average and two moments, of 4 bytes a number, and three counters at most.
    assert 0 <= found.state - 4 * 4 * numbers <= 3 * 4
    batch = batch_like(TINY).values()
    assert found.batch == sum(leaf.size * 4 for leaf in batch)
    # At least what the first convolution gives, for its activation on the way back.
    assert found.temporary > 8 * 16 * 16 * 2 * 4


@pytest.mark.slow
def test_the_quick_compiler_plans_the_memory_that_training_takes(
    of_tiny: planning.Memory,
) -> None:
    training, like = training_of(TINY), batch_like(TINY)
    step = program(training.init, training.step, like, mesh=mesh_of(TINY), seed=TINY.seed)
    found = step.compiled().memory_analysis()
    assert found is not None
    # What is returned beside the state counts too: the metrics.
    assert 0 <= of_tiny.temporary - found.temp_size_in_bytes < 1000


def test_choices_go_from_the_experiment_itself_to_the_most_frugal() -> None:
    found = [c.name for c in planning.choices(TINY, 1)]
    assert found[:4] == [
        "float32, remat none, batch 8",
        "bfloat16, remat none, batch 8",
        "bfloat16, remat blocks, batch 8",
        "bfloat16, remat none, batch 4 x 2",
    ]
    assert found[-1] == "bfloat16, remat blocks, batch 1 x 8" and len(found) == 9


def test_a_divided_batch_moves_the_weights_as_often() -> None:
    last = list(planning.choices(TINY, 1))[-1].experiment
    plan = last.schedule
    assert (plan.steps // plan.accumulate, plan.warmup // plan.accumulate) == (100, 10)
    assert last.data.batch * plan.accumulate == 8


def test_several_devices_share_the_batch_and_then_space() -> None:
    layouts = [(c.experiment.devices.data, c.experiment.devices.space) for c in choices_of(4, 8)]
    assert layouts[:2] == [(4, 2), (1, 8)]
    # Part of the batch on each: 1 image has only its rows to share.
    assert layouts[-1] == (1, 8)
    own = dataclasses.replace(TINY, devices=Devices(2, 1, fsdp=True))
    assert {c.experiment.devices for c in planning.choices(own, 8)} == {own.devices}


def choices_of(batch: int, devices: int) -> list[planning.Choice]:
    data = dataclasses.replace(TINY.data, batch=batch)
    return list(planning.choices(dataclasses.replace(TINY, data=data), devices))


def test_options_give_the_experiment_back() -> None:
    after = list(planning.choices(load(find("ldct_cgan"), "full"), 1))[-1].experiment
    words = planning.options(load(find("ldct_cgan"), "full"), after)
    assert words == [
        *("--network.dtype", "bfloat16", "--network.remat", "blocks"),
        *("--method.discriminator.dtype", "bfloat16", "--data.batch", "4"),
        *("--schedule.steps", "160000", "--schedule.accumulate", "8"),
    ]


def test_options_name_fields_of_several_words() -> None:
    before = load(find("ldct_ddanet"), "cpu")
    geometry = dataclasses.replace(before.task.geometry, image_size=32)
    after = dataclasses.replace(before, task=dataclasses.replace(before.task, geometry=geometry))
    assert planning.options(before, after) == ["--task.geometry.image-size", "32"]


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80e9), ("1.5 GiB", 1.5 * 2**30), ("512mib", 2**29)]
)
def test_memory_is_read_with_its_unit(text: str, size: float) -> None:
    assert planning.memory_of(text) == size


@pytest.mark.parametrize("text", ["80XB", "80", "GB", "-3GB", "0GB"])
def test_memory_of_no_known_unit_is_one_line(text: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="80GB or 512MiB"):
        planning.memory_of(text)
    assert cli.run(["plan", "quickstart", "--setting", "cpu", f"--memory={text}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


PER_IMAGE = {"none": 6, "blocks": 2}


def measured(experiment: Experiment, raw: object) -> planning.Memory:
    """1 GB, and 6 an image or 2 with recomputed blocks."""
    assert isinstance(experiment.network, UNetConfig)
    image = PER_IMAGE[experiment.network.remat]
    return planning.Memory(1, 10**9, 0, experiment.data.batch * image * 10**9)


def test_what_cannot_fit_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "measure", measured)
    found = planning.plan(TINY, 10 * 10**9, devices=1)
    totals = [each.least / 1e9 if each.memory else None for each in found]
    # Of batch 4 without recomputation 49 / 2 is known to be too much; with it, 17 / 2 may fit.
    assert totals == [49, 49, 17, None, 9]
    assert [each.fits for each in found] == [False] * 4 + [True]
    assert found[3].least == 24.5e9
    whole = planning.plan(TINY, 10 * 10**9, devices=1, every=True)
    assert len(whole) == 9 and all(each.memory for each in whole)


def test_bounds_are_marked_where_nothing_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(planning, "measure", measured)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    words = ["plan", "ldct_cgan", "--setting", "full", "--memory", "1GB", "--batch", "8"]
    assert cli.run(words) == 1
    said = capsys.readouterr().out
    assert "the least is > 2.1 GB (bfloat16, remat blocks, batch 1 x 8)" in said
    assert said.count("> 24.5") == 1 and said.count(" 17.0 ") == 1


def test_the_first_that_fits_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    sizes = iter([9, 7, 5, 3])

    def falling(experiment: Experiment, raw: object) -> planning.Memory:
        return planning.Memory(1, 10**9, 0, next(sizes) * 10**9)

    monkeypatch.setattr(planning, "measure", falling)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    words = ["plan", "ldct_cgan", "--setting", "full", "--memory", "6GB", "--batch", "8"]
    assert cli.run(words) == 0
    said = capsys.readouterr().out
    assert "Takes bfloat16, remat blocks, batch 8: 6.0 GB" in said and "10.0, 8.0 GB" in said
    assert said.splitlines()[-1] == (
        "next: medjax train ldct_cgan --setting full --network.dtype bfloat16 --network.remat "
        "blocks --method.discriminator.dtype bfloat16 --data.batch 8"
    )
