"""A run that predicts its errors: deviations in HU, calibrated, reported, written to files."""

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medjax import calibrate, cli, run
from medjax.calibrate import Predicted
from medjax.data.builder import DatasetInfo, Record, write_dataset
from medjax.errors import UserError
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import Heteroscedastic
from medjax.models.unet import UNetConfig
from medjax.models.with_spread import START, WithSpreadConfig
from medjax.tasks.base import Case
from medjax.tasks.ldct import LowDoseCT

SIDE = 48
# Of an untrained network: the Laplace law's deviation, in HU over a window of 400.
UNTRAINED_HU = START * np.sqrt(2) * 400


def body(shift: float) -> np.ndarray:
    """A water ellipse with a disc of bone, in HU."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / SIDE
    hu = np.where((x / 0.45) ** 2 + (y / 0.4) ** 2 < 1, 20.0, -1000.0)
    hu[np.hypot(x - 0.1 - shift, y) < 0.08] = 400
    return hu.astype(np.float32)


def record(name: str, shift: float) -> Record:
    return {
        "image": body(shift),
        "spacing": np.full(2, 4.0, np.float32),
        "case": name,
        "subject": name,
        "modality": "CT",
        "unit": "HU",
        "index": 0,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A run whose weights never moved: what it predicts is known."""
    home = tmp_path_factory.mktemp("calibrate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(home / "home"))
        patch.setattr(LowDoseCT, "filters", ("median 3",))
        splits = {
            name: [lambda name=name, shift=shift: [record(name, shift)]]
            for name, shift in (("train", 0.0), ("valid", 0.05), ("test", 0.1))
        }
        info = DatasetInfo("bodies", "1.0.0", "none", "made up", "CT", "HU", dims=2)
        write_dataset(info, splits)
        experiment = Experiment(
            name="still",
            summary="",
            task=LowDoseCT(views=60),
            network=WithSpreadConfig(UNetConfig(width=2, depth=0, norm="none")),
            method=Heteroscedastic(),
            data=Data(name="bodies", patch=16, batch=2, threads=0),
            schedule=Schedule(steps=1, peak=1e-12, end=0.0),
            tiling=Tiling(size=32, overlap=8, batch=2, ensemble=True),
            keep=Keep(save_every=1, log_every=1),
        )
        assert run.train(experiment, home / "run").step == 1
        before = run.open_run(home / "run")
        run.evaluate(home / "run", before)
        yield home / "run", before


def test_deviations_come_in_hu_through_tiles_and_mirror_images(trained) -> None:
    _, before = trained
    image = body(0.0)[:, :41]
    assert before.stretch is None and before.law == "laplace"
    assert before.std is not None and before.spread is not None
    np.testing.assert_allclose(before.std(image), np.full(image.shape, UNTRAINED_HU), rtol=1e-4)
    np.testing.assert_array_equal(before.spread(image), before.std(image))


def test_evaluation_stretches_them_on_the_validation_scan(trained) -> None:
    folder, before = trained
    task = before.experiment.task
    case = task.simulate(record("valid", 0.05), before.experiment.seed + 1_750_000)
    low, high = task.display
    inside = (case.reference >= low) & (case.reference <= high)
    error = np.abs(case.degraded - case.reference)[inside]
    # It returns its input, and says the same everywhere.
    expected = np.sqrt(2) * error.mean() / UNTRAINED_HU
    after = run.open_run(folder)
    assert after.stretch == pytest.approx(expected, rel=1e-3)
    assert after.spread is not None
    spread = after.spread(case.degraded)
    np.testing.assert_allclose(spread, np.sqrt(2) * error.mean(), rtol=1e-3)
    kept = json.loads((folder / "results.json").read_text())["uncertainty"]
    assert kept["found_on"] == "1 validation scan" and kept["law"] == "laplace"
    assert len(kept["levels"]) == len(kept["observed"]) == len(kept["raw"])
    test = task.simulate(record("test", 0.1), before.experiment.seed + 1_000_000)
    inside = (test.reference >= low) & (test.reference <= high)
    wrong = np.abs(test.degraded - test.reference)[inside]
    half = -np.log(1 - 0.9) * error.mean()
    assert kept["shown"][1] == pytest.approx((wrong <= half).mean(), abs=0.005)
    assert kept["rank_correlation"] is None or abs(kept["rank_correlation"]) < 0.2


def test_the_report_shows_curve_and_map(trained) -> None:
    folder, _ = trained
    page = (folder / "report.html").read_text()
    assert "<h2>Uncertainty</h2>" in page and "Errors inside the intervals, %" in page
    assert "Root mean square error, HU" in page and "standard deviation" in page


def test_a_map_is_written_in_hu(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    noisy = body(0.0) + 5 * np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    nib.save(
        nib.Nifti1Image(noisy.T[..., None], np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "in.nii"
    )
    words = ["restore", str(folder), str(tmp_path / "in.nii"), str(tmp_path / "out.nii")]
    assert cli.run([*words, "--modality", "CT", "--uncertainty"]) == 0
    said = capsys.readouterr().out
    target = tmp_path / "out-uncertainty.nii"
    assert f"wrote {target}: standard deviation of the error in HU" in said
    stretch = run.open_run(folder).stretch
    assert stretch is not None
    found = np.asarray(nib.load(target).get_fdata())  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(found, stretch * UNTRAINED_HU, rtol=1e-3)
    # Neither is overwritten.
    (tmp_path / "out.nii").unlink()
    assert cli.run([*words, "--modality", "CT", "--uncertainty"]) == 2
    assert f"{target}: exists already" in capsys.readouterr().err


def test_draws_of_what_restores_in_one_way_are_refused(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    nib.save(nib.Nifti1Image(body(0.0)[..., None], np.eye(4)), tmp_path / "in.nii")
    words = ["restore", str(folder), str(tmp_path / "in.nii"), str(tmp_path / "out.nii")]
    assert cli.run([*words, "--draws", "4"]) == 2
    assert "restores in one way only" in capsys.readouterr().err


def test_a_factor_belongs_to_its_checkpoint(tmp_path: Path) -> None:
    assert calibrate.recall(tmp_path, 3) is None
    calibrate.keep(tmp_path, 1.25, 3)
    assert calibrate.recall(tmp_path, 3) == 1.25
    # Trained on since: the factor was another network's.
    assert calibrate.recall(tmp_path, 4) is None
    (tmp_path / calibrate.CALIBRATION).write_text("{}")
    with pytest.raises(UserError, match=r"calibration\.json.*medjax evaluate"):
        calibrate.recall(tmp_path, 3)


def test_errors_count_inside_the_window_alone() -> None:
    reference = np.array([[-500.0, 0.0], [100.0, 50.0]], np.float32)
    case = Case("a", reference, reference, 0.0, (1.0, 1.0))
    std = np.array([[1.0, 2.0], [0.0, 4.0]], np.float32)
    task = dataclasses.replace(LowDoseCT(), window=(-160.0, 240.0))
    found = calibrate.errors_of(task, [Predicted(case, reference + 3, std)])
    assert found.error.tolist() == [3, 3] and found.std.tolist() == [2, 4]
