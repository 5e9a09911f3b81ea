"""The map of disagreement as a file: in the scan's unit, whatever the task shifts and scales."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medjax.restore import disagreement_file
from medjax.tasks.base import Task


class Shifted(Task):
    """Values are halved and shifted before the network sees them."""

    dims = 2
    unit = ""
    background = 0.0

    def normalise(self, scan):
        return scan / 2 - 7, lambda restored: (restored + 7) * 2


def draw(seed: int):
    """Adds -1 or 1 to the left half, in the network's values: a deviation of sqrt(4/3) over 4."""

    def restore(image: np.ndarray) -> np.ndarray:
        out = image.copy()
        out[:, : image.shape[1] // 2] += (-1.0) ** seed
        return out

    return restore


def test_the_map_is_a_deviation_in_the_scans_own_values(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(100, 10, (8, 6, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "in.nii.gz")
    disagreement_file(
        draw, Shifted(), tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", count=4, description="d"
    )
    found = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(found.affine, np.diag([2.0, 2.0, 3.0, 1.0]))
    # NIfTI counts x first: the left half of [y, x] slices is the lower half of the first axis.
    spread = 2 * np.std([-1, 1, -1, 1], ddof=1)
    values = np.asarray(found.get_fdata())
    np.testing.assert_allclose(values[:4], spread, rtol=1e-4)
    np.testing.assert_allclose(values[4:], 0, atol=1e-4)


def test_a_pictures_map_is_a_picture(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 8), 100, np.uint8)).save(tmp_path / "in.png")
    disagreement_file(
        lambda seed: lambda image: image + 10 * (-1.0) ** seed,
        Shifted(),
        tmp_path / "in.png",
        tmp_path / "out.png",
        count=2,
        description="d",
    )
    grey = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_allclose(grey, 2 * 10 * np.sqrt(2), atol=1)
