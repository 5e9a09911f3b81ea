"""Files through `restore`: which are taken, on which grid, in which channel, and what is said."""

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medjax.errors import UserError
from medjax.restore import restore_file, spread_file
from medjax.seen import Seen
from medjax.tasks.base import Task
from medjax.uncertainty import disagreement


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
    spread_file(
        lambda values: disagreement(draw, values, 4),
        Shifted(),
        tmp_path / "in.nii.gz",
        tmp_path / "out.nii.gz",
        description="d",
    )
    found: Any = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(found.affine, np.diag([2.0, 2.0, 3.0, 1.0]))
    # NIfTI counts x first: the left half of [y, x] slices is the lower half of the first axis.
    spread = 2 * np.std([-1, 1, -1, 1], ddof=1)
    values = np.asarray(found.get_fdata())
    np.testing.assert_allclose(values[:4], spread, rtol=1e-4)
    np.testing.assert_allclose(values[4:], 0, atol=1e-4)


def test_a_pictures_map_is_a_picture(tmp_path: Path) -> None:
    Image.fromarray(np.arange(100, 148, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "in.png")
    spread_file(
        lambda image: np.full_like(image, 14.0),
        Shifted(),
        tmp_path / "in.png",
        tmp_path / "out.png",
        description="d",
    )
    grey = np.asarray(Image.open(tmp_path / "out.png"))
    # Eight times brighter, to be seen.
    np.testing.assert_allclose(grey, 8 * 2 * 14, atol=1)


class Photographs(Task):
    """Green of colour pictures, as it is."""

    dims = 2
    unit = ""
    background = 0.0
    colour_channel = 1

    @property
    def display(self) -> tuple[float, float]:
        return (0.0, 255.0)


class Slices(Task):
    dims = 2
    unit = "HU"
    background = -1000.0


class Volumes(Task):
    dims = 3
    unit = ""
    background = 0.0

    def normalise(self, scan):
        return scan / 4, lambda restored: restored * 4


class Marked(Volumes):
    interpolable = False


HEADS = Seen("MR", ((2.0, 2.0),) * 3, "SAR")


def restored(task: Task, source: Path, target: Path, restore: Any = None, **options: Any) -> None:
    same = restore or (lambda values: values)
    restore_file(same, task, source, target, description="d", **options)


def refused(task: Task, source: Path, **options: Any) -> str:
    target = source.with_name("never" + "".join(source.suffixes))
    with pytest.raises(UserError) as error:
        restored(task, source, target, **options)
    assert not target.exists() and not list(source.parent.glob(".medjax*"))
    assert str(source) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_of_a_colour_photograph_the_channel_of_the_task_is_restored(tmp_path, caplog) -> None:
    colour = np.random.default_rng(0).integers(0, 200, (6, 8, 3)).astype(np.uint8)
    source, target = tmp_path / "eye.png", tmp_path / "out.png"
    Image.fromarray(colour).save(source)
    restored(Photographs(), source, target, lambda values: values + 10)
    np.testing.assert_array_equal(np.asarray(Image.open(target)), colour[..., 1] + 10)
    assert "green channel" in caplog.text
    assert "colour image" in refused(Shifted(), source)


def test_a_grey_picture_in_colours_is_grey_to_every_task(tmp_path, caplog) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (6, 8)).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "in.png")
    restored(Shifted(), tmp_path / "in.png", tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), grey)
    assert not caplog.records


def test_a_colour_dicom_photograph_becomes_a_dicom_file_again(tmp_path) -> None:
    source = Path(str(get_testdata_file("examples_rgb_color.dcm", download=False)))
    target = tmp_path / "out.dcm"
    restored(Photographs(), source, target)
    old, new = pydicom.dcmread(source).pixel_array, pydicom.dcmread(target)
    assert "green channel" in new.SeriesDescription and new.ImageType[0] == "DERIVED"
    np.testing.assert_array_equal(new.pixel_array, np.repeat(old[..., 1:2], 3, axis=-1))


def test_sixteen_bits_are_no_brighter_than_eight(tmp_path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (6, 8)).astype(np.uint16)
    Image.fromarray(grey * 257).save(tmp_path / "in.png")
    shown = []
    restored(
        Photographs(), tmp_path / "in.png", tmp_path / "out.png", lambda x: shown.append(x) or x
    )
    np.testing.assert_allclose(shown[0], grey, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), grey * 257)
    np.save(tmp_path / "wide.npy", grey * 257.0)
    assert "white" in refused(Photographs(), tmp_path / "wide.npy")


def test_volumes_come_to_the_grid_of_training_and_back(tmp_path, caplog) -> None:
    volume = np.random.default_rng(0).uniform(50, 150, (20, 24, 16)).astype(np.float32)
    # NIfTI's axes x, y, z rise to left, posterior, superior here, in voxels of 1 x 1 x 2 mm.
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "in.nii.gz")
    given = []

    def brighter(values: np.ndarray) -> np.ndarray:
        given.append(values)
        out = values.copy()
        # The right half of the patient, on a grid that rises to superior, anterior, right.
        out[:, :, values.shape[2] // 2 :] += 25
        return out

    restored(Volumes(), tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", brighter, seen=HEADS)
    assert given[0].shape == (16, 12, 10)
    found: Any = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(found.affine, affine)
    change = np.asarray(found.get_fdata()) - volume
    # x rises to the left, so the right of the patient comes first; 4 undoes `normalise`.
    np.testing.assert_allclose(change[:9], 100, atol=1e-3)
    np.testing.assert_allclose(change[11:], 0, atol=1e-3)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "2 x 1 x 1 mm" in line and "at 2 mm" in line and "finer detail" in line
    assert b"at 2 mm" in bytes(found.header["descrip"])


def test_a_map_of_disagreement_is_brought_back_from_the_grid(tmp_path) -> None:
    volume = np.random.default_rng(0).uniform(50, 150, (20, 24, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "in.nii.gz")
    spread_file(
        lambda values: np.full_like(values, 1.5),
        Volumes(),
        tmp_path / "in.nii.gz",
        tmp_path / "out.nii.gz",
        description="d",
        seen=HEADS,
    )
    written: Any = nib.load(tmp_path / "out.nii.gz")
    found = np.asarray(written.get_fdata())
    np.testing.assert_allclose(found, 4 * 1.5, rtol=1e-4)


def test_marked_samples_are_turned_but_never_interpolated(tmp_path, caplog) -> None:
    volume = np.random.default_rng(0).uniform(50, 150, (20, 24, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "in.nii.gz")
    given = []
    restored(
        Marked(),
        tmp_path / "in.nii.gz",
        tmp_path / "out.nii.gz",
        lambda values: given.append(values) or values,
        seen=HEADS,
    )
    np.testing.assert_allclose(given[0] * 4, volume.T[:, ::-1, ::-1], rtol=1e-6)
    assert "voxels of 1 mm" in caplog.text and "trust the result less" in caplog.text


@pytest.mark.parametrize(
    ("mm", "said"), [(0.7, False), (1.2, False), (1.5, True), (0.3, True), (None, True)]
)
def test_pixels_of_a_size_that_was_never_seen_are_warned_about(
    tmp_path, caplog, mm: float | None, said: bool
) -> None:
    fields: dict[str, Any] = {} if mm is None else {"spacing": np.array([mm, mm])}
    image = np.random.default_rng(0).normal(0, 50, (8, 8))
    np.savez(tmp_path / "in.npz", image=image, modality="CT", unit="HU", **fields)
    with caplog.at_level(logging.WARNING):
        restored(
            Slices(),
            tmp_path / "in.npz",
            tmp_path / "out.npz",
            seen=Seen("CT", ((0.5, 1.0), (0.5, 1.0))),
        )
    assert ("learned from pixels of 0.5 mm to pixels of 1 mm" in caplog.text) is said


def test_what_is_not_of_the_networks_kind_is_refused(tmp_path) -> None:
    values = np.random.default_rng(0).uniform(0, 100, (8, 8, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "volume.nii.gz")
    np.save(tmp_path / "slice.npy", values[..., 0])
    np.savez(tmp_path / "loop.npz", image=values, axes="tyx")
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), np.float32))
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 7.0), np.eye(4)), tmp_path / "flat.nii.gz")
    np.savez(tmp_path / "hu.npz", image=values, modality="CT", unit="HU")
    np.savez(tmp_path / "mr.npz", image=values[..., 0], modality="MR")
    Image.fromarray(values[..., 0].astype(np.uint8)).save(tmp_path / "grey.png")
    heads: dict[str, Any] = {"seen": HEADS}
    assert "is an image; this network restores a volume" in refused(
        Volumes(), tmp_path / "slice.npy", **heads
    )
    assert "is a series of images" in refused(Volumes(), tmp_path / "loop.npz", **heads)
    assert "holds no values" in refused(Volumes(), tmp_path / "empty.npy", **heads)
    assert "nothing to restore" in refused(Volumes(), tmp_path / "flat.nii.gz", **heads)
    assert "its values are HU; this network restores MR" in refused(
        Volumes(), tmp_path / "hu.npz", **heads
    )
    assert "--modality CT" in refused(Slices(), tmp_path / "volume.nii.gz")
    assert "it is MR" in refused(Slices(), tmp_path / "mr.npz")
    # What a file says of itself cannot be talked away.
    assert "cannot be right" in refused(Slices(), tmp_path / "mr.npz", modality="CT")
    assert "--window" in refused(Slices(), tmp_path / "grey.png")
    assert "--window" in refused(Slices(), tmp_path / "grey.png", modality="CT")
    eyes: dict[str, Any] = {"seen": Seen("OP")}
    assert "is MR, and this network learned from OP" in refused(
        Photographs(), tmp_path / "mr.npz", **eyes
    )
    restored(Photographs(), tmp_path / "mr.npz", tmp_path / "out.npz", modality="OP", **eyes)


def test_a_volume_that_does_not_say_how_it_lies_is_warned_about(tmp_path, caplog) -> None:
    values = np.random.default_rng(0).uniform(0, 100, (8, 8, 4)).astype(np.float32)
    np.savez(tmp_path / "in.npz", image=values, spacing=np.array([2.0, 2.0, 2.0]))
    restored(Volumes(), tmp_path / "in.npz", tmp_path / "out.npz", seen=HEADS)
    assert "does not say how it lies in space" in caplog.text and "SAR" in caplog.text


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("slice.npz", "out.png", "--window"),
        ("volume.npz", "out.png", "one picture cannot hold a volume"),
        ("slice.npz", "out.dcm", "only scans read from DICOM"),
        ("slice.npz", "out.xyz", "unknown kind of file"),
    ],
)
def test_an_output_that_cannot_hold_the_result_is_refused(
    tmp_path, source: str, target: str, said: str
) -> None:
    image = np.random.default_rng(0).normal(0, 50, (3, 8, 8))
    np.savez(tmp_path / "volume.npz", image=image, modality="CT", unit="HU")
    np.savez(tmp_path / "slice.npz", image=image[0], modality="CT", unit="HU")
    with pytest.raises(UserError, match=said):
        restored(Slices(), tmp_path / source, tmp_path / target)
    assert {path.name for path in tmp_path.iterdir()} == {"volume.npz", "slice.npz"}
    restored(Slices(), tmp_path / "slice.npz", tmp_path / "out.png", window=(-160, 240))
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == (8, 8)


def test_a_series_at_another_pace_is_warned_about(tmp_path, caplog) -> None:
    class Series(Volumes):
        dims = 4

    values = np.random.default_rng(0).uniform(0, 100, (5, 4, 4, 4))
    np.savez(tmp_path / "in.npz", image=values, spacing=np.array([3.0, 2.0, 2.0]), time_step=0.5)
    seen = Seen("MR", ((2.0, 2.0), (3.0, 3.0), (2.0, 2.0), (2.0, 2.0)))
    restored(Series(), tmp_path / "in.npz", tmp_path / "out.npz", seen=seen)
    assert "voxels of 3 x 2 x 2 mm every 0.5 s" in caplog.text
    assert "learned from voxels of 3 x 2 x 2 mm every 2 s" in caplog.text
