"""Noise levels of scans beside those of training: white noise, a virtual scanner, the remarks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from medjax import levels, seen
from medjax.data.augment import Augment
from medjax.data.builder import DatasetInfo, Record, write_dataset
from medjax.experiment import Data, Experiment
from medjax.methods.config import Regression
from medjax.models.unet import UNetConfig
from medjax.remarks import remarks
from medjax.scan import Scan
from medjax.seen import Seen
from medjax.tasks.inpainting import Inpainting
from medjax.tasks.ldct import LowDoseCT

SIDE = 128
# Of white noise, what is left of its deviation (`physics.noise_level`).
WHITE = 0.80
TASK = LowDoseCT(views=360, train_dose=(0.1, 0.6), augment=Augment(warp_probability=0.0))


def body() -> np.ndarray:
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / SIDE
    return np.where((x / 0.48) ** 2 + (y / 0.46) ** 2 < 1, 40.0, -1000.0).astype(np.float32)


def record() -> Record:
    return {
        "image": body(),
        "spacing": np.full(2, 2.0, np.float32),
        "case": "a",
        "subject": "a",
        "modality": "CT",
        "unit": "HU",
        "index": 0,
    }


def white(deviation: float, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    noise = np.random.default_rng(0).normal(40, deviation, shape)
    return noise.astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> levels.Given:
    home = tmp_path_factory.mktemp("levels")
    experiment = Experiment(
        name="bodies",
        summary="",
        task=TASK,
        network=UNetConfig(width=2, depth=0, norm="none"),
        method=Regression(),
        data=Data(name="bodies", patch=32, batch=8, threads=0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(home / "home"))
        info = DatasetInfo("bodies", "1.0.0", "none", "made up", "CT", "HU", dims=2)
        write_dataset(info, {"train": [lambda: [record()]]})
        found = levels.trained_on(experiment)
        seen.keep(home, "bodies", *found)
        known = seen.recall(home, {})
        assert found.noise is not None and (known.noise, known.far) == found
        still = dataclasses.replace(experiment, task=Inpainting())
        # Its noise is not what it undoes.
        assert levels.trained_on(still) == levels.Given()
    return found


def test_white_noise_is_measured_in_the_windows_unit() -> None:
    found = levels.level_of(white(10.0, (3, 64, 96)), TASK)
    assert found == pytest.approx(WHITE * 10 / 400, rel=0.05)
    # Where only a corner shows tissue there is nothing to measure it on.
    air = np.full((SIDE, SIDE), -1000.0, np.float32)
    air[:18, :18] = white(10.0)[:18, :18]
    assert levels.level_of(air, TASK) is None


def test_the_worst_slice_says_which_values_there_are() -> None:
    volume = np.full((3, SIDE, SIDE), 40.0, np.float32)
    volume[1, :16], volume[2, :, :8] = -850, 3000
    volume[0] = -1000
    assert levels.far_of(volume, TASK) == (16 / SIDE, 8 / SIDE)


def test_the_range_of_training_holds_scans_of_its_doses_and_no_others(trained) -> None:
    """Training takes noise of a local model; here the whole scanner makes it."""
    low, high = trained.noise
    found = {}
    for dose in (0.003, 0.25, 100.0):
        case = dataclasses.replace(TASK, dose=dose).simulate(record(), 3)
        found[dose] = levels.level_of(case.degraded, TASK)
    assert found[0.003] > high and found[100.0] < low
    assert low < found[0.25] < high


@pytest.mark.parametrize(
    ("deviation", "short"),
    [(1.0, "less noise than trained"), (10.0, None), (60.0, "more noise than trained")],
)
def test_what_a_user_is_told(deviation: float, short: str | None) -> None:
    scan = Scan(white(deviation), "yx", (1.0, 1.0), None, "CT", "HU", Path("a.nii"))
    noise = (WHITE * 5 / 400, WHITE * 20 / 400)
    known = Seen("CT", ((1.0, 1.0),) * 2, noise=noise, far=(0.0, 0.0))
    told = remarks(scan, TASK, known, None)
    assert [remark.short for remark in told] == ([] if short is None else [short])
    assert all("a.nii" in remark.line and "\n" not in remark.line for remark in told)
    # Nothing is said where nothing is known.
    assert not remarks(scan, TASK, dataclasses.replace(known, noise=None), None)


def test_both_sampling_and_noise_are_told() -> None:
    scan = Scan(white(1.0), "yx", (3.0, 3.0), None, "CT", "HU", Path("a.nii"))
    known = Seen("CT", ((1.0, 1.0),) * 2, noise=(0.01, 0.1), far=(0.1, 0.0))
    told = [remark.short for remark in remarks(scan, TASK, known, None)]
    assert told == ["untrained pixel size", "less noise than trained"]


def test_a_scan_of_nothing_in_the_window_is_told() -> None:
    lung = np.full((SIDE, SIDE), -850.0, np.float32)
    scan = Scan(lung, "yx", (1.0, 1.0), None, "CT", "HU", Path("a.nii"))
    known = Seen("CT", ((1.0, 1.0),) * 2, noise=(0.01, 0.1), far=(0.1, 0.0))
    told = [remark.short for remark in remarks(scan, TASK, known, None)]
    assert told == ["outside the trained window", "untrained anatomy"]


def test_metal_is_told() -> None:
    image = white(10.0)
    image[3:9, 3:9] = 8000
    scan = Scan(image, "yx", (1.0, 1.0), None, "CT", "HU", Path("a.nii"))
    known = Seen("CT", ((1.0, 1.0),) * 2, noise=(0.01, 0.1), far=(0.1, 0.001))
    assert [remark.short for remark in remarks(scan, TASK, known, None)] == [
        "untrained bright values"
    ]


def test_runs_from_before_noise_was_kept_still_open(tmp_path: Path) -> None:
    (tmp_path / seen.SEEN).write_text('{"modality": "CT", "spacing": [], "directions": ""}')
    assert seen.recall(tmp_path, {}) == Seen("CT")
