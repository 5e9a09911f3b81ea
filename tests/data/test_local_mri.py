"""Heads on one grid: orientation, spacing, position; the dataset made of real files."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medjax.data import catalog, local_mri
from medjax.errors import UserError
from medjax.io import read_scan


def head_file(path: Path, codes: str, zooms: tuple[float, float, float]) -> Path:
    """A bright box of 100 x 120 x 110 mm (right, anterior, superior), stored along `codes`.

    Its right, front and top corner shines twice as bright.
    """
    r, a, s = np.meshgrid(*(np.arange(int(170 / z)) * z for z in zooms), indexing="ij")
    box = (abs(r - 85) < 50) & (abs(a - 85) < 60) & (abs(s - 100) < 55)
    corner = (r > 110) & (a > 120) & (s > 130)
    image = nib.Nifti1Image((box * (1.0 + corner)).astype(np.float32), np.diag([*zooms, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_every_orientation_gives_the_same_grid(tmp_path, codes) -> None:
    file = head_file(tmp_path / "a.nii.gz", codes, (1.0, 2.5, 2.0))
    volume = local_mri.standard_grid(read_scan(file, "MR"))
    assert volume.shape == local_mri.SHAPE and volume.dtype == np.float32
    inside = np.argwhere(volume > 0.5)
    extent = np.ptp(inside, axis=0) + 1
    np.testing.assert_allclose(extent * local_mri.SPACING_MM, (110, 120, 100), atol=5)
    # Centred in the plane, and the brightest corner is up, in front and on the right.
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    np.testing.assert_allclose(middle[1:], (56, 48), atol=1.5)
    bright = np.argwhere(volume > 1.5).mean(axis=0)
    assert (bright > middle + 10).all()


def test_a_long_neck_is_cut_off_below(tmp_path) -> None:
    image = np.zeros((60, 60, 150), np.float32)
    image[20:40, 20:40, 2:140] = 1
    image[10:50, 10:50, 100:140] = 1
    nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "a.nii")
    volume = local_mri.standard_grid(read_scan(tmp_path / "a.nii", "MR"))
    covered = np.flatnonzero(volume.max(axis=(1, 2)) > 0.5)
    assert covered[0] == 0 and 88 <= covered[-1] <= 92


def test_a_scan_that_says_nothing_of_space_is_refused(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.ones((8, 8, 8), np.float32))
    with pytest.raises(UserError, match="space"):
        local_mri.standard_grid(read_scan(tmp_path / "a.npy", "MR"))


def test_without_the_folder_the_command_that_helps_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    with pytest.raises(UserError, match="medjax data prepare FOLDER --name mri_t1 --dims 3"):
        catalog.load("mri_t1", tmp_path)


def test_the_dataset_of_real_heads(medjax_data, tmp_path) -> None:
    if not (medjax_data / "mri_volumes").is_dir():
        pytest.skip("no mri_volumes in MEDJAX_DATA")
    dataset = catalog.load("mri_t1", tmp_path)
    subjects = {}
    for split, records in dataset.splits.items():
        subjects[split] = {r["subject"] for r in records}
        for one in records:
            assert one["image"].shape == local_mri.SHAPE and one["image"].min() >= 0
            # Heads stand upright: no tissue touches the upper end, there is some in the middle.
            image = one["image"] / one["image"].max()
            assert image[-1].mean() < 0.01 < image[48].mean()
    assert not subjects["train"] & subjects["test"]
    assert {"train", "test", "extra"} == set(subjects)
