"""What cannot be read is said in one line: which file, what is wrong, what to do."""

from pathlib import Path

import dicom_samples as samples
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from medjax.errors import UserError
from medjax.io import read_folder, read_scan


def refuse(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_scan(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "Doe" not in message


def test_missing_path(tmp_path: Path) -> None:
    for name in ("no.dcm", "no.nii.gz", "no.png", "no.npz", "no"):
        refuse(tmp_path / name, "no such file")


def test_empty_folder(tmp_path: Path) -> None:
    refuse(tmp_path, "no DICOM file in it")
    with pytest.raises(UserError, match="no scan in it"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["a.dcm", "a.nii", "a.nii.gz", "a.png", "a.tif", "a.jpg", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"Dear colleague, thank you for sending" * 20])
def test_text_and_nothing_under_another_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refuse(path, "not a|empty|damaged|not NIfTI")


def test_unknown_extension(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"x")
    refuse(path, "unknown kind of file")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless])
def test_truncated_dicom(tmp_path: Path, share: float, syntax: str | None) -> None:
    stored = samples.volume_stored(1, 64, 64)[0]
    path = samples.save(samples.header(stored, series="1.1"), stored, tmp_path / "a.dcm", syntax)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuse(path, "damaged|truncated|no pixel data|not a DICOM")


def test_dicom_without_pixels(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    path = samples.save(samples.header(stored, series="1.1"), stored, tmp_path / "a.dcm")
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(path)
    refuse(path, "no pixel data")


def test_unsupported_transfer_syntax(tmp_path: Path) -> None:
    stored = samples.volume_stored(1, 64, 64)[0]
    path = samples.save(
        samples.header(stored, series="1.1"), stored, tmp_path / "a.dcm", JPEG2000Lossless
    )
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    ds.save_as(path, enforce_file_format=True)
    refuse(path, "which no decoder here reads")


def test_report_is_no_image() -> None:
    path = samples.bundled("reportsi.dcm")
    if path is None:
        pytest.skip("pydicom's samples are not installed")
    refuse(path, "no image to restore")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_values(tmp_path: Path, value: float) -> None:
    data = np.zeros((3, 4, 5), np.float32)
    data[1, 2, 3] = value
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    np.savez(tmp_path / "a.npz", image=data)
    for name in ("a.nii.gz", "a.npz"):
        refuse(tmp_path / name, "1 of 60 values are NaN or infinite")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.png", "a.tif", "a.jpg", "a.npz", "a.npy"])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    data = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    path = tmp_path / name
    if ".nii" in name:
        nib.save(nib.Nifti1Image(data[..., None], np.eye(4)), path)
    elif name == "a.npz":
        np.savez(path, image=data)
    elif name == "a.npy":
        np.save(path, data)
    else:
        Image.fromarray(data).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuse(path, "damaged|truncated|not a picture")


def test_complex_and_colour_nifti(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "c.nii")
    refuse(tmp_path / "c.nii", "only real numbers")
    np.save(tmp_path / "c.npy", np.ones((3, 4), complex))
    refuse(tmp_path / "c.npy", "only real numbers")


def test_npz_of_many_arrays_needs_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=np.ones((3, 4)), test=np.ones((3, 4)))
    refuse(tmp_path / "a.npz", "2 arrays")
    np.savez(tmp_path / "b.npz", image=np.ones((3, 4)), axes="xy")
    refuse(tmp_path / "b.npz", "axes")


def test_folder_goes_on_after_bad_files(tmp_path: Path) -> None:
    samples.write_series(tmp_path / "ct", samples.volume_stored(3))
    samples.write_series(tmp_path / "gap", samples.volume_stored(5), series="1.5", skip=(2,))
    (tmp_path / "ct" / "note.dcm").write_text("not an image, whatever its name")
    (tmp_path / "table.csv").write_text("a,b")
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "p.png")
    contents = read_folder(tmp_path)
    assert [ref.read().axes for ref in contents.scans] == ["zyx", "yx"]
    assert len(contents.problems) == 2
    assert any("note.dcm" in line for line in contents.problems)
    assert any("slices are missing" in line for line in contents.problems)


def test_sound_files_under_odd_names(tmp_path: Path) -> None:
    """Without preamble and meta group, without extension, or named by a bare UID."""
    stored = samples.volume_stored(1)[0]
    path = samples.save(samples.header(stored, series="1.1"), stored, tmp_path / "a.dcm")
    expected = stored.astype(np.float32) - 1024
    for name in ("IM0001", "1.2.840.113619.7"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert np.array_equal(read_scan(tmp_path / name).array, expected)
    bare = pydicom.Dataset()
    for element in pydicom.dcmread(path):
        bare.add(element)
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    assert (tmp_path / "bare.dcm").read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read_scan(tmp_path / "bare.dcm").array, expected)
