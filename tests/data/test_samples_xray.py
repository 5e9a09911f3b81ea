"""The bundled radiographs: what the files hold, upright in grey, and no patient in two splits."""

import numpy as np
import pydicom
import pytest

from medjax.data import convert, samples, samples_xray
from medjax.data.builder import open_splits, versions
from medjax.errors import UserError


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    samples_xray.RECIPE.prepare(home)
    (folder,) = versions("xray_samples", home)
    return open_splits(folder)


def test_greys_are_the_files_turned_to_bright_bone(splits) -> None:
    records = {r["case"]: r for split in splits.values() for r in split}
    for one in samples_xray.RADIOGRAPHS:
        file = pydicom.dcmread(samples.sample_file(one.file))
        assert file.PhotometricInterpretation == "MONOCHROME1"
        bright = 1 - file.pixel_array / (2**file.BitsStored - 1)
        part = bright[slice(*one.rows), slice(*one.columns)]
        rows, columns = (n - n % 2 for n in part.shape)
        part = part[:rows, :columns]
        means = (part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) / 4
        image = records[one.case]["image"]
        np.testing.assert_allclose(image, means, atol=1e-6)
        assert image.min() >= 0 and image.max() <= 1
    # The talus against the air beside it.
    ankle = records["leg-ankle"]["image"]
    assert ankle[300:340, 170:210].mean() > 0.7 > 0.1 > ankle[20:60, 300:340].mean()


def test_no_patient_is_in_two_splits(splits) -> None:
    found = {name: {r["subject"] for r in split} for name, split in splits.items()}
    assert not found["train"] & found["test"]
    ids = {
        str(pydicom.dcmread(samples.sample_file(f), stop_before_pixels=True).PatientID)
        for f in ("RG1_UNCR.dcm", "RG3_UNCR.dcm")
    }
    assert len(ids) == 2


def test_shrinking_averages_and_drops_what_is_left_over() -> None:
    image = np.arange(5 * 4, dtype=np.float32).reshape(5, 4)
    np.testing.assert_allclose(convert.shrunk(image, (2, 2)), [[2.5, 4.5], [10.5, 12.5]])


def test_missing_files_say_what_to_install(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(samples, "get_testdata_file", lambda name, download: None)
    with pytest.raises(UserError, match=r"medjax\[samples\]"):
        samples_xray.RECIPE.prepare(tmp_path)
