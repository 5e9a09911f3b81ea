"""Real scans of MEDJAX_DATA: traps that synthetic files do not have."""

import io
import warnings
from pathlib import Path

import dicom_samples as samples
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from medjax.io import read_folder, read_scan, write_scan

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "folder", ["ct_chest_kernel_pairs/dicom_A0001_L", "mri_dicom_vsseg/dicom_slices"]
)
def test_affine_agrees_with_nibabel(medjax_data: Path, folder: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM readers experimental
        from nibabel.nicom import dicomwrappers
    scan = read_scan(medjax_data / folder)
    assert scan.axes == "zyx"
    assert scan.affine is not None
    for path in (medjax_data / folder).iterdir():
        wrapper = dicomwrappers.wrapper_from_file(path)
        ds = pydicom.dcmread(path)
        # nibabel's affine takes (row, column, 0) to LPS+.
        corners = np.array([[0, 0, 0, 1], [511, 7, 0, 1], [3, 400, 0, 1]], float)
        expected = (LPS_TO_RAS @ wrapper.affine @ corners.T)[:3]
        pixels = ds.pixel_array * ds.get("RescaleSlope", 1) + ds.get("RescaleIntercept", 0)
        matches = [z for z in range(4) if np.array_equal(scan.array[z], pixels)]
        assert len(matches) == 1
        index = corners.copy()
        index[:, [1, 2]], index[:, 0] = corners[:, :2], matches[0]
        found = (scan.affine.astype(float) @ index.T)[:3]
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_dicom_and_nifti_of_one_scan_agree(medjax_data: Path) -> None:
    pairs = medjax_data / "ct_chest_kernel_pairs"
    dicom = read_scan(pairs / "dicom_A0001_L")
    nifti = read_scan(pairs / "Lung_Dx-A0001_L.nii.gz", modality="CT")
    assert dicom.affine is not None
    assert nifti.affine is not None
    assert nifti.unit == dicom.unit == "HU"
    # The NIfTI file kept directions and sizes, and lost where the scan began.
    np.testing.assert_allclose(dicom.affine[:3, :3], nifti.affine[:3, :3], atol=1e-6)
    assert np.array_equal(nifti.array[20:24], dicom.array)


@pytest.mark.parametrize("name", ["J2K_pixelrep_mismatch.dcm", "693_UNCR.dcm"])
def test_sane_hounsfield_units(medjax_data: Path, name: str) -> None:
    """The first says unsigned in its J2K stream and signed in its header; both pad with -2000."""
    path = medjax_data / "dicom_singles" / name
    scan = read_scan(path)
    ds = pydicom.dcmread(path)
    assert scan.unit == "HU"
    assert scan.valid is not None
    assert np.array_equal(~scan.valid, ds.pixel_array == -2000)
    inside = scan.array[scan.valid]
    assert inside.min() >= -1100
    assert 1000 < inside.max() < 3072
    histogram, edges = np.histogram(inside[inside < -500], 100)
    # The fullest bin of the dark part is air, -1000 HU, or the floor of the stored range.
    assert -1100 < edges[np.argmax(histogram)] < -900


def test_every_single_image_survives_a_round_trip(medjax_data: Path, tmp_path: Path) -> None:
    for path in sorted((medjax_data / "dicom_singles").glob("*.dcm")):
        scan = read_scan(path)
        (written,) = write_scan(scan, tmp_path / path.name, description="x")
        again = read_scan(written)
        assert np.array_equal(again.array, scan.array), path.name
        assert (again.axes, again.unit, again.subject) == (scan.axes, scan.unit, scan.subject)
        assert np.array_equal(again.valid is None, scan.valid is None)
        assert scan.valid is None or np.array_equal(again.valid, scan.valid)


def test_colour_cine(medjax_data: Path) -> None:
    scan = read_scan(medjax_data / "dicom_singles" / "examples_ybr_color.dcm")
    assert scan.axes == "tyxc"
    assert scan.time_step == pytest.approx(0.0333, abs=1e-4)
    # Ultrasound is mostly grey: true RGB has equal channels there, raw YBR has not.
    dark = scan.array[0, :20, -40:]
    assert np.abs(dark - dark[..., :1]).max() <= 2


def test_whole_folder(medjax_data: Path) -> None:
    contents = read_folder(medjax_data / "dicom_singles")
    assert not contents.problems
    assert len(contents.scans) == 10
    assert len({ref.subject for ref in contents.scans}) == 10


def test_overlays_stay(medjax_data: Path, tmp_path: Path) -> None:
    path = medjax_data / "dicom_singles" / "MR-SIEMENS-DICOM-WithOverlays.dcm"
    write_scan(read_scan(path), tmp_path / "a.dcm", description="x")
    old, new = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "a.dcm")
    assert np.array_equal(old.overlay_array(0x6000), new.overlay_array(0x6000))


def test_lossy_jpeg_equals_pillow() -> None:
    path = samples.bundled("SC_rgb_jpeg_lossy_gdcm.dcm")
    if path is None:
        pytest.skip("pydicom's samples are not installed")
    ds = pydicom.dcmread(path)
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    expected = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"), np.float32)
    assert np.abs(read_scan(path).array - expected).max() <= 3
