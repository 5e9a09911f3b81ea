"""The catalogue and the bundled CT slices."""

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medjax.data import catalog, samples
from medjax.data.builder import DatasetInfo, versions, write_dataset
from medjax.errors import UserError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def dataset(home):
    return catalog.load("ct_samples", home)


def test_samples_are_what_the_files_say(dataset):
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 2,
        "valid": 1,
        "test": 1,
        "extra": 1,
    }
    found = {r["case"]: r for split in dataset.splits.values() for r in split}
    for sample in samples.SAMPLES:
        file = pydicom.dcmread(get_testdata_file(sample.file, download=False))
        stored = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        record = found[sample.case]
        inside = stored > -1000
        np.testing.assert_array_equal(record["image"][inside], stored[inside])
        assert record["image"].min() >= -1024
        np.testing.assert_allclose(record["spacing"], file.PixelSpacing, rtol=1e-6)
        assert (record["modality"], record["unit"]) == ("CT", "HU")


def test_splits_share_no_patient(dataset):
    subjects = [r["subject"] for split in dataset.splits.values() for r in split]
    assert len(set(subjects)) == len(subjects)
    patients = [
        str(pydicom.dcmread(samples.sample_file(s.file), stop_before_pixels=True).PatientID)
        for s in samples.SAMPLES
    ]
    assert len(set(patients)) == len(patients)


def test_second_load_reads_what_the_first_wrote(dataset, home):
    (folder,) = versions("ct_samples", home)
    before = {f: f.stat().st_mtime_ns for f in folder.iterdir()}
    again = catalog.load("ct_samples", home)
    assert {f: f.stat().st_mtime_ns for f in folder.iterdir()} == before
    np.testing.assert_array_equal(
        again.split("test")[0]["image"], dataset.split("test")[0]["image"]
    )


def test_missing_split_is_named(dataset):
    with pytest.raises(UserError, match="no split 'tset', only train, valid, test, extra"):
        dataset.split("tset")


def test_unknown_name_suggests_the_nearest(home):
    with pytest.raises(UserError, match="did you mean ct_samples"):
        catalog.load("ct_sample", home)


def test_available_before_first_use_and_newest_version(tmp_path):
    names = [info.name for info in catalog.available(tmp_path)]
    assert names == [recipe.info.name for recipe in catalog.RECIPES]
    record = {
        "image": np.zeros((2, 2), np.float32),
        "spacing": np.ones(2, np.float32),
        "case": "a",
        "subject": "a",
        "modality": "MR",
        "unit": "",
        "index": 0,
    }
    for version in ("9.0.0", "10.0.0"):
        info = DatasetInfo("toy", version, "CC0", "made up", "MR", "")
        write_dataset(info, {"train": [lambda: [record]]}, tmp_path)
    toy = next(info for info in catalog.available(tmp_path) if info.name == "toy")
    assert (toy.version, toy.licence, dict(toy.counts)) == ("10.0.0", "CC0", {"train": 1})
    assert toy.bytes > 0
    assert catalog.load("toy", tmp_path).info == toy


def test_missing_samples_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "get_testdata_file", lambda name, download: None)
    with pytest.raises(UserError, match=r"medjax\[samples\]"):
        catalog.load("ct_samples", tmp_path)


def test_slices_to_fine_tune_on_are_of_patients_that_no_network_learned_on(home, dataset):
    others = catalog.load("ct_samples_others", home)
    cases = {name: [r["case"] for r in split] for name, split in others.splits.items()}
    assert cases == {"train": ["neck-spine"], "test": ["head-b"]}
    learnt = {r["subject"] for r in dataset.split("train")}
    assert not learnt & {r["subject"] for split in others.splits.values() for r in split}


def test_sharp_slices_keep_their_values_and_those_judged_are_held_back(home, medjax_data):
    chest = catalog.load("ct_chest_sharp", home)
    numbers = {name: [r["index"] for r in split] for name, split in chest.splits.items()}
    assert numbers == {"train": list(range(14)), "test": list(range(16, 30))}
    file = medjax_data / "ct_chest_kernel_pairs" / "Lung_Dx-A0001_L.nii.gz"
    volume = np.asanyarray(nibabel.load(file).dataobj)
    record = chest.split("test")[3]
    np.testing.assert_array_equal(record["image"], volume[..., 19].T)
    np.testing.assert_allclose(record["spacing"], 0.841797, atol=1e-5)
    assert record["unit"] == "HU"
