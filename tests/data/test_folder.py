"""Datasets from the user's own files: honest splits, bad files left out, one scan in memory."""

import csv
import gc
import weakref
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medjax.data import catalog, convert
from medjax.data.builder import versions
from medjax.data.folder import prepare, split_subjects
from medjax.data.intake import CASES_FILE
from medjax.data.pipeline import batches
from medjax.errors import UserError
from medjax.io import ScanRef
from medjax.scan import Scan


def write_volumes(folder: Path, count: int, shape=(9, 8, 5)) -> dict[str, np.ndarray]:
    """NIfTI volumes; what is stored, as (z, y, x), by file name."""
    folder.mkdir(exist_ok=True)
    stored = {}
    for i in range(count):
        values = np.random.default_rng(i).normal(size=shape).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.diag([0.5, 0.75, 2.0, 1.0])), folder / f"p{i}.nii.gz")
        stored[f"p{i}.nii.gz"] = values.T
    return stored


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (12, 10), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def cases(name: str, home: Path) -> dict[str, str]:
    with (versions(name, home)[-1] / CASES_FILE).open() as file:
        return {row["case"]: row["file"] for row in csv.DictReader(file)}


def test_volumes_become_slices_and_no_subject_is_in_two_splits(tmp_path):
    stored = write_volumes(tmp_path / "in", 6)
    report = prepare(tmp_path / "in", "mine", tmp_path, test=0.3, valid=0.2, licence="CC0")
    assert report.problems == ()
    # No CT, so it is for the user to say which experiment fits.
    assert report.next_step == "medjax train EXPERIMENT --data mine"
    assert report.info.counts == {"train": 15, "valid": 5, "test": 10}
    assert report.info.subjects == {"train": 3, "valid": 1, "test": 2}
    data = catalog.load("mine", tmp_path)
    assert data.info == report.info
    assert data.info.licence == "CC0"
    names = cases("mine", tmp_path)
    seen = {}
    for split, records in data.splits.items():
        for record in records:
            volume = stored[names[record["case"]]]
            # Readers may flip axes to one orientation; every slice must be one of the volume's.
            flips = [volume[:, ::a, ::b] for a in (1, -1) for b in (1, -1)]
            assert any(np.array_equal(record["image"], s) for flip in flips for s in flip)
            np.testing.assert_allclose(record["spacing"], [0.75, 0.5])
            assert seen.setdefault(record["subject"], split) == split
    assert len(seen) == 6
    batch = next(batches(data.split("train"), batch_size=2, patch=(4, 4), seed=0, threads=0))
    assert batch["image"].shape == (2, 4, 4, 1)


def test_volumes_whole(tmp_path):
    write_volumes(tmp_path / "in", 3)
    info = prepare(tmp_path / "in", "mine", tmp_path, dims=3).info
    assert (info.dims, info.counts) == (3, {"train": 2, "test": 1})
    record = catalog.load("mine", tmp_path).split("test")[0]
    assert record["image"].shape == (5, 8, 9)
    np.testing.assert_allclose(record["spacing"], [2.0, 0.75, 0.5])


def test_bad_files_are_named_and_the_rest_goes_on(tmp_path):
    write_volumes(tmp_path / "in", 3)
    (tmp_path / "in" / "p9.nii.gz").write_bytes(b"not a scan")
    (tmp_path / "in" / "notes.txt").write_text("hello")
    report = prepare(tmp_path / "in", "mine", tmp_path)
    assert len(report.problems) == 1
    assert "p9.nii.gz" in report.problems[0]
    assert sum(report.info.counts.values()) == 15


def test_nothing_usable(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        (folder / f"p{i}.nii.gz").write_bytes(b"not a scan")
    with pytest.raises(UserError, match=r"p\d\.nii\.gz"):
        prepare(folder, "mine", tmp_path)
    assert versions("mine", tmp_path) == ()


def test_one_subject_needs_permission(tmp_path):
    write_volumes(tmp_path / "in", 1, (8, 8, 20))
    with pytest.raises(UserError, match=r"one subject.*--split-slices"):
        prepare(tmp_path / "in", "mine", tmp_path)
    report = prepare(tmp_path / "in", "mine", tmp_path, split_slices=True, test=0.25, valid=0.1)
    assert report.info.counts == {"train": 13, "valid": 2, "test": 5}
    splits = catalog.load("mine", tmp_path).splits
    numbers = [r["index"] for split in ("train", "valid", "test") for r in splits[split]]
    assert numbers == list(range(20))


def test_kinds_must_not_mix(tmp_path):
    folder = tmp_path / "in"
    for modality, name in (("CT", "a"), ("CT", "b"), ("MR", "c"), ("MR", "d")):
        folder.mkdir(exist_ok=True)
        np.savez(
            folder / f"{name}.npz",
            array=np.ones((4, 4), np.float32),
            axes="yx",
            spacing=[1.0, 1.0],
            modality=modality,
        )
    with pytest.raises(UserError, match="among scans that are"):
        prepare(folder, "mine", tmp_path)
    assert versions("mine", tmp_path) == ()


def test_subject_named_inside_two_files_stays_in_one_split(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcdef":
        np.savez(folder / f"{name}.npz", image=np.ones((4, 4), np.float32), subject="only one")
    report = prepare(folder, "mine", tmp_path, test=0.0)
    assert report.info.subjects == {"train": 1}
    with pytest.raises(UserError, match=r"nothing for the split test.*another split"):
        prepare(folder, "mine", tmp_path)


def test_pictures_and_versions(tmp_path):
    write_pictures(tmp_path / "in", 5)
    first = prepare(tmp_path / "in", "mine", tmp_path).info
    assert first.counts == {"train": 4, "test": 1}
    assert np.isnan(catalog.load("mine", tmp_path).split("test")[0]["spacing"]).all()
    assert prepare(tmp_path / "in", "mine", tmp_path, seed=1).info.version == "2.0.0"
    assert catalog.load("mine", tmp_path).info.version == "2.0.0"


def test_one_scan_in_memory(tmp_path, monkeypatch):
    write_volumes(tmp_path / "in", 6)
    alive, most, done = [], [], []
    read = ScanRef.read

    def watched(ref):
        gc.collect()
        most.append(sum(array() is not None for array in alive))
        scan = read(ref)
        alive.append(weakref.ref(scan.array))
        return scan

    monkeypatch.setattr(ScanRef, "read", watched)
    prepare(tmp_path / "in", "mine", tmp_path, progress=lambda n, of: done.append((n, of)))
    assert most == [0] * 6
    assert done == [(i + 1, 6) for i in range(6)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "My Scans"}, "small letters"),
        ({"name": "ct_samples"}, "bundled"),
        ({"dims": 4}, "--dims"),
        ({"test": 1.0}, "--test"),
        ({"folder": Path("/nonexistent")}, "no such"),
    ],
)
def test_user_errors(tmp_path, wrong, says):
    write_pictures(tmp_path / "in", 2)
    with pytest.raises(UserError, match=says):
        prepare(**{"folder": tmp_path / "in", "name": "mine", "home": tmp_path, **wrong})


def test_split_subjects():
    subjects = [f"s{i % 10}" for i in range(30)]
    split = split_subjects(subjects, 0.2, 0.1, seed=3)
    assert {k: len(v) for k, v in split.items()} == {"train": 7, "valid": 1, "test": 2}
    assert set.union(*split.values()) == set(subjects)
    assert split == split_subjects(list(reversed(subjects)), 0.2, 0.1, seed=3)
    assert any(split != split_subjects(subjects, 0.2, 0.1, seed=s) for s in range(4, 8))
    with pytest.raises(UserError, match="2 subjects"):
        split_subjects(["a", "b"], 0.2, 0.2, seed=0)


def scan(array, axes, **changes):
    return Scan(np.asarray(array, np.float32), axes, (2.0, 1.0, 1.0), None, "CT", "HU", Path("x"),
                **changes)  # fmt: skip


def test_padding_is_air_and_minus_1024_at_least():
    array = np.array([[[-2000, -1000], [40, 3000]]])
    valid = np.array([[[False, True], [False, True]]])
    filled = convert.fill_invalid(scan(array, "zyx", valid=valid))
    np.testing.assert_array_equal(filled, [[[-1024, -1000], [-1024, 3000]]])
    mr = scan([[[np.nan, 5], [7, np.inf]]], "zyx").replace(unit="", modality="MR")
    np.testing.assert_array_equal(convert.fill_invalid(mr), [[[5, 5], [7, 5]]])
    with pytest.raises(UserError, match="no valid value"):
        convert.fill_invalid(scan([[[np.nan]]], "zyx"))


def test_series_and_colour():
    series = scan(np.arange(48).reshape(2, 3, 2, 4), "tzyx")
    assert convert.images(series, 2)[0].shape == (6, 2, 4)
    stack, spacing = convert.images(series, 3)
    assert stack.shape == (2, 3, 2, 4)
    np.testing.assert_array_equal(spacing, [2, 1, 1])
    rgb = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    colour = Scan(rgb.astype(np.float32), "yxc", None, None, "OT", "", Path("x"))
    luminance, _ = convert.images(colour, 2)
    # Pillow rounds to integers.
    expected = np.asarray(Image.fromarray(rgb).convert("L"), np.float32)
    np.testing.assert_allclose(luminance[0], expected, atol=1.01)
    with pytest.raises(UserError, match="--dims 2"):
        convert.images(colour, 3)


def test_pictures_become_ct_scans_through_a_stated_window(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        grey = np.full((20, 30), 51 * number, np.uint8)
        Image.fromarray(grey).save(scans / f"{number}.png")
    report = prepare(scans, "pictures", tmp_path, window=(-160.0, 240.0), pixel_mm=0.7, test=0.34)
    assert report.next_step == "medjax train quickstart --data pictures"
    assert report.info.unit == "HU" and report.info.modality == "CT"
    records = [r for split in catalog.load("pictures", tmp_path).splits.values() for r in split]
    assert sorted(float(r["image"][0, 0]) for r in records) == pytest.approx([-160, -80, 0])
    assert all(np.allclose(r["spacing"], 0.7) for r in records)
    with pytest.raises(UserError, match="positive"):
        prepare(scans, "pictures", tmp_path, pixel_mm=0.0)
