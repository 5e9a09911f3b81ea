"""NIfTI against nibabel read directly."""

from pathlib import Path

import dicom_samples as samples
import nibabel as nib
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.io import read_scan, write_scan

AFFINE = np.array(
    [[-0.8, 0.1, 0.2, 90.0], [0.1, 0.9, -0.1, -120.0], [0.15, 0.05, 2.4, -70.0], [0, 0, 0, 1]]
)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, step: float = 0) -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if step:
        image.header["pixdim"][4] = step
    nib.save(image, path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4), (5, 6, 4, 3)])
def test_axes_and_affine(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)
    save(tmp_path / name, data, step=2.5 if len(shape) == 4 else 0)
    scan = read_scan(tmp_path / name)
    image = nib.load(tmp_path / name)
    assert scan.axes == {2: "yx", 3: "zyx", 4: "tzyx"}[len(shape)]
    assert (scan.modality, scan.unit) == ("OT", "")
    assert scan.time_step == (2.5 if len(shape) == 4 else None)
    index = (2, 3, 1, 2)[: len(shape)]
    assert scan.array[index[::-1]] == image.get_fdata()[index]
    assert scan.affine is not None
    place = nib.affines.apply_affine(image.affine, (2, 3, 1 if len(shape) > 2 else 0))
    found = scan.affine @ [1 if len(shape) > 2 else 0, 3, 2, 1]
    np.testing.assert_allclose(found[:3], place, atol=1e-4)
    zooms = image.header.get_zooms()[:3]
    assert scan.spacing == pytest.approx(zooms[::-1])


def test_scaled_values_and_units(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 2, 2, 1.0]))
    image.header.set_slope_inter(0.5, -10)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert np.array_equal(scan.array, nib.load(tmp_path / "a.nii").get_fdata().T)
    assert scan.spacing == pytest.approx((0.002,) * 3)
    assert scan.affine is not None
    np.testing.assert_allclose(np.abs(scan.affine[:3, :3]).sum(0), 0.002)


def test_no_orientation_no_affine(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    image.header.set_zooms((1, 2, 3))
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.affine is None
    assert scan.spacing == (3, 2, 1)


def test_caller_says_ct(tmp_path: Path) -> None:
    data = np.full((8, 8, 2), -2000, np.int16)
    data[4:, 4:] = 40
    save(tmp_path / "a.nii", data)
    scan = read_scan(tmp_path / "a.nii", modality="CT")
    assert (scan.modality, scan.unit) == ("CT", "HU")
    assert scan.valid is not None
    assert np.array_equal(scan.valid, scan.array == 40)


def test_round_trip_keeps_header_and_integers(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(-1000, 2000, (5, 6, 4, 3)).astype(np.int16)
    image = nib.Nifti1Image(data, AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE + 0.5, code=4)
    image.header["pixdim"][4] = 1.5
    image.header.set_xyzt_units("mm", "sec")
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    nib.save(image, tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    write_scan(scan, tmp_path / "b.nii.gz", description="x")
    old, new = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(np.asanyarray(new.dataobj), data)
    assert new.get_data_dtype() == np.int16
    for name in ("pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "xyzt_units"):
        np.testing.assert_array_equal(new.header[name], old.header[name])
    assert new.header.extensions[0].get_content() == b"kept"
    write_scan(scan.replace(array=scan.array + 0.25), tmp_path / "c.nii", description="x")
    assert np.array_equal(nib.load(tmp_path / "c.nii").get_fdata(), data + 0.25)
    with pytest.raises(UserError, match="never overwritten"):
        write_scan(scan, tmp_path / "a.nii.gz", description="x")


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_dicom_to_nifti(tmp_path: Path, tilt: float) -> None:
    stored = samples.volume_stored()
    samples.write_series(tmp_path / "in", stored, orientation=samples.OBLIQUE, tilt=tilt)
    scan = read_scan(tmp_path / "in")
    write_scan(scan, tmp_path / "a.nii.gz", description="x")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(image.get_fdata(), stored.T.astype(float) - 1024)
    assert scan.affine is not None
    np.testing.assert_allclose(image.affine[:, [2, 1, 0, 3]], scan.affine, atol=1e-4)
    assert image.header.get_zooms() == pytest.approx((0.75, 0.5, np.hypot(2.5, tilt)))
    # A quaternion cannot hold a shear: then only the sform speaks.
    assert int(image.header["qform_code"]) == (0 if tilt else 1)
    again = read_scan(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-5)
