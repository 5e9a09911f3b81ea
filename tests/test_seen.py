"""What a run learned from: read off its dataset, kept in its folder, told without either."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medjax import seen
from medjax.data import local_mri
from medjax.data.builder import DatasetInfo, Record, write_dataset
from medjax.errors import UserError
from medjax.scan import Scan
from medjax.seen import Seen


def record(number: int, spacing: Sequence[float]) -> Record:
    return {
        "image": np.zeros((4,) * len(spacing), np.float32),
        "spacing": np.asarray(spacing, np.float32),
        "case": f"case-{number}",
        "subject": str(number),
        "modality": "CT",
        "unit": "HU",
        "index": 0,
    }


def prepare(spacings: Sequence[Sequence[float]], source: str = "made up", dims: int = 2) -> None:
    info = DatasetInfo("slices", "1.0.0", "none", source, "CT", "HU", dims=dims)
    records = [record(i, spacing) for i, spacing in enumerate(spacings)]
    # The last one is held out, and what it is like does not count.
    write_dataset(info, {"train": [lambda: records[:-1]], "test": [lambda: records[-1:]]})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))


def test_the_range_of_the_training_scans_is_kept_and_recalled(tmp_path: Path) -> None:
    prepare([(0.5, 0.75), (1.0, 0.625), (9.0, 9.0)])
    seen.keep(tmp_path, "slices")
    assert seen.recall(tmp_path, {}) == Seen("CT", ((0.5, 1.0), (0.625, 0.75)))


def test_unknown_sizes_stay_unknown(tmp_path: Path) -> None:
    prepare([(0.5, 0.5), (np.nan, np.nan), (0.5, 0.5)])
    seen.keep(tmp_path, "slices")
    assert seen.recall(tmp_path, {}) == Seen("CT")


def test_a_run_that_kept_nothing_is_told_by_its_dataset_where_that_is_still_there(
    tmp_path: Path,
) -> None:
    prepare([(0.5, 0.75), (9.0, 9.0)])
    told = {"name": "slices", "version": "1.0.0", "source": "made up", "modality": "CT"}
    assert seen.recall(tmp_path, {"dataset": told}) == Seen("CT", ((0.5, 0.5), (0.75, 0.75)))
    # Another dataset that now has the name says nothing about the run.
    other = {**told, "source": "somebody else's"}
    assert seen.recall(tmp_path, {"dataset": other}) == Seen("CT")
    assert seen.recall(tmp_path, {"dataset": {**told, "version": "2.0.0"}}) == Seen("CT")
    assert seen.recall(tmp_path, {}) == Seen()


def test_a_damaged_dataset_does_not_keep_a_run_from_serving(tmp_path: Path) -> None:
    prepare([(0.5, 0.75), (9.0, 9.0)])
    for file in (tmp_path / "home").rglob("*array_record*"):
        file.write_bytes(b"nothing")
    told = {"name": "slices", "version": "1.0.0", "source": "made up", "modality": "CT"}
    assert seen.recall(tmp_path, {"dataset": told}) == Seen("CT")


def test_the_grid_of_mri_t1_is_known_without_its_files(tmp_path: Path) -> None:
    told = {"name": "mri_t1", "version": "1.0.0", "source": local_mri.INFO.source, "modality": "MR"}
    assert seen.recall(tmp_path, {"dataset": told}) == Seen("MR", ((2.0, 2.0),) * 3, "SAR")
    own = {**told, "source": "9 scans of the user's own"}
    assert seen.recall(tmp_path, {"dataset": own}) == Seen("MR")


@pytest.mark.parametrize("text", ["", "{}", '{"modality": "CT", "spacing": [[1]]}', "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / seen.SEEN).write_text(text)
    with pytest.raises(UserError, match=r"seen\.json.*delete it"):
        seen.recall(tmp_path, {})


def test_volumes_of_mri_t1_rise_to_the_directions_that_are_recorded() -> None:
    volume = np.zeros((60, 60, 60), np.float32)
    volume[10:50, 10:50, 10:50] = 1
    # Bright spots at the patient's right, front and top of a file that rises to L, P and S.
    volume[30, 30, 12] = 9
    volume[30, 12, 30] = 7
    volume[48, 30, 30] = 5
    affine = np.array([[0, 0, -2, 60], [0, -2, 0, 60], [2, 0, 0, -60], [0, 0, 0, 1]], np.float32)
    file = Scan(volume, "zyx", (2.0, 2.0, 2.0), affine, "MR", "", Path("a.nii"))
    head = local_mri.standard_grid(file)
    right, front, top = (np.argwhere(np.isclose(head, value))[0] for value in (9, 7, 5))
    middle = (right + front) // 2
    directions = seen.TURNED[local_mri.INFO.source]
    assert directions == "SAR"
    assert top[0] > middle[0] and front[1] > right[1] and right[2] > front[2]


@pytest.mark.parametrize("codes", ["SAR", "LPS", "IRA"])
def test_directions_as_an_affine(codes: str) -> None:
    affine = Seen("MR", (), codes).affine
    assert affine is not None
    assert "".join(nib.aff2axcodes(affine)) == codes
    assert Seen("MR").affine is None
