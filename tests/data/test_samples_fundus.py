"""Fundus datasets against the files they are made of."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from medjax.data import samples_fundus
from medjax.data.builder import open_splits, versions
from medjax.errors import UserError


def opened(recipe, home):
    recipe.prepare(home)
    (folder,) = versions(recipe.info.name, home)
    return open_splits(folder)


def write(folder, names, side=24):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    stored = {n: rng.integers(0, 255, (side, side + 2, 3), np.uint8) for n in names}
    for name, pixels in stored.items():
        Image.fromarray(pixels).save(folder / name)
    return stored


def test_drive_is_read_from_the_users_folder(monkeypatch, tmp_path):
    stored = write(tmp_path / "fundus_drive" / "training" / "images", ["2.png", "1.tif"])
    write(tmp_path / "fundus_drive" / "test" / "images", ["1.png"])
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path))
    splits = opened(samples_fundus.DRIVE_RECIPE, tmp_path / "home")
    assert [r["case"] for r in splits["train"]] == ["train-1", "train-2"]
    for record, name in zip(splits["train"], ["1.tif", "2.png"], strict=True):
        np.testing.assert_array_equal(record["image"], stored[name][..., 1])
    assert splits["test"][0]["unit"] == "" and np.isnan(splits["test"][0]["spacing"]).all()


def test_a_folder_without_pictures_says_where_they_belong(monkeypatch, tmp_path):
    (tmp_path / "fundus_drive").mkdir()
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path))
    with pytest.raises(UserError, match="training/images"):
        samples_fundus.DRIVE_RECIPE.prepare(tmp_path / "home")


def test_the_bundled_eye_is_halved_without_overlap(tmp_path):
    splits = opened(samples_fundus.SAMPLE_RECIPE, tmp_path)
    left, right = (splits[s][0]["image"] for s in ("train", "test"))
    green = skimage.data.retina()[..., 1].astype(np.float64)
    assert left.shape[1] + right.shape[1] == green.shape[1] // 2
    whole = np.concatenate([left, right], axis=1)
    np.testing.assert_allclose(whole[100, 300], green[200:202, 600:602].mean(), rtol=1e-6)
    assert float(whole.max()) <= 255


def test_real_drive_has_twenty_and_twenty(medjax_data, tmp_path):
    if not (medjax_data / "fundus_drive").is_dir():
        pytest.skip("no fundus_drive in MEDJAX_DATA")
    shards = samples_fundus.DRIVE_RECIPE.shards()
    records = {split: [r for shard in found for r in shard()] for split, found in shards.items()}
    assert {split: len(r) for split, r in records.items()} == {"train": 20, "test": 20}
    assert {r["image"].shape for r in records["test"]} == {(584, 565)}
