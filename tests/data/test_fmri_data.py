"""The bundled and the local fMRI datasets against their files."""

from importlib.resources import files

import nibabel
import numpy as np
import pytest

from medjax.data import catalog, local_fmri
from medjax.data.convert import shrunk
from medjax.data.samples_fmri import still
from medjax.errors import UserError


def nibabel_file(name: str) -> np.ndarray:
    image = nibabel.load(str(files("nibabel") / "tests" / "data" / name))  # pyright: ignore
    return np.asarray(image.get_fdata()).T


def test_samples_are_what_the_files_say(tmp_path) -> None:
    dataset = catalog.load("fmri_samples", tmp_path)
    (test,), (train, *slabs) = dataset.split("test"), dataset.split("train")
    np.testing.assert_allclose(test["image"], nibabel_file("functional.nii"), rtol=1e-6)
    np.testing.assert_allclose(test["spacing"], [2, 8, 4, 4], rtol=1e-5)
    assert train["subject"] != test["subject"]
    expected = nibabel_file("example4d.nii.gz").mean(0)[:4, :2, :2].mean()
    assert train["image"][5, 0, 0, 0] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(train["image"][0], train["image"][-1])
    np.testing.assert_allclose(train["spacing"], [2, 8.8, 4, 4], rtol=1e-4)
    np.testing.assert_array_equal(np.concatenate([s["image"] for s in slabs], 1), train["image"])
    assert {s["subject"] for s in slabs} == {train["subject"]}
    assert dataset.info.dims == 4


def test_shrunk_means_whole_blocks() -> None:
    volume = np.arange(5 * 4 * 7, dtype=np.float32).reshape(5, 4, 7)
    small = shrunk(volume, (2, 1, 3))
    assert small.shape == (2, 4, 2)
    assert small[1, 2, 1] == pytest.approx(volume[2:4, 2, 3:6].mean())
    assert still(volume, 3).shape == (3, 5, 4, 7)


def test_epi_contrast_turns_tissues_round() -> None:
    greys = np.concatenate([np.linspace(0, 1, 99), [1.0]]).astype(np.float32)
    epi = local_fmri.epi_contrast(greys)
    air, fluid, grey, white = (epi[np.argmin(np.abs(greys - v))] for v in (0.02, 0.2, 0.55, 0.85))
    assert air == 0 and fluid > grey > white > 0


def test_local_recipes_say_what_is_missing(monkeypatch) -> None:
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    for recipe in local_fmri.RECIPES:
        with pytest.raises(UserError, match="--dims 4"):
            recipe.shards()


def test_local_series_keep_subjects_apart(medjax_data, monkeypatch) -> None:
    monkeypatch.setenv("MEDJAX_DATA", str(medjax_data))
    for recipe in local_fmri.RECIPES:
        shards = recipe.shards()
        one = next(iter(shards["test"][0]()))
        assert one["image"].ndim == 4 and np.isfinite(one["spacing"]).all()
    for files_of in (local_fmri.SERIES, local_fmri.TEMPLATES):
        train, test = ({s.subject for s in files_of if s.split == k} for k in ("train", "test"))
        assert train and test and not train & test
    haxby = next(iter(local_fmri.SERIES_RECIPE.shards()["train"][3]()))
    raw = nibabel.load(  # pyright: ignore
        str(medjax_data / "fmri" / "haxby_1slice" / "task001_run001.nii.gz")
    )
    np.testing.assert_allclose(haxby["image"], np.asarray(raw.get_fdata()).T)
