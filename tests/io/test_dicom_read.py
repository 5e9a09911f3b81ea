"""Reading DICOM: values, geometry and padding against pydicom and the standard's equation."""

from pathlib import Path

import dicom_samples as samples
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medjax.errors import UserError
from medjax.io import read_folder, read_scan


def patient_point(ds: pydicom.Dataset, row: float, column: float) -> np.ndarray:
    """PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, turned from LPS+ to RAS+."""
    along, down = np.array(ds.ImageOrientationPatient).reshape(2, 3)
    row_spacing, column_spacing = ds.PixelSpacing
    lps = np.array(ds.ImagePositionPatient) + along * column_spacing * column
    return np.array([-1, -1, 1]) * (lps + down * row_spacing * row)


@pytest.mark.parametrize("orientation", [samples.AXIAL, samples.OBLIQUE])
@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_series_is_sorted_by_position(tmp_path: Path, orientation, tilt: float) -> None:
    stored = samples.volume_stored()
    paths = samples.write_series(tmp_path, stored, orientation=orientation, tilt=tilt)
    scan = read_scan(tmp_path)
    assert scan.axes == "zyx"
    assert scan.unit == "HU"
    assert scan.modality == "CT"
    assert np.array_equal(scan.array, stored.astype(np.float32) - 1024)
    assert scan.spacing == pytest.approx((np.hypot(2.5, tilt), 0.5, 0.75), abs=1e-5)
    assert scan.affine is not None
    for index in (0, 3, 4):
        ds = pydicom.dcmread(paths[index])
        for row, column in ((0, 0), (11, 2), (5, 9)):
            found = scan.affine @ np.array([index, row, column, 1])
            np.testing.assert_allclose(found[:3], patient_point(ds, row, column), atol=1e-4)


def test_single_image_has_a_plane(tmp_path: Path) -> None:
    (path,) = samples.write_series(tmp_path, samples.volume_stored(1), orientation=samples.OBLIQUE)
    scan = read_scan(path)
    assert scan.axes == "yx"
    assert scan.spacing == (0.5, 0.75)
    point = patient_point(pydicom.dcmread(path), 7, 3)
    assert scan.affine is not None
    np.testing.assert_allclose((scan.affine @ [0, 7, 3, 1])[:3], point, atol=1e-4)


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    stored = samples.volume_stored(3)
    slopes = [0.25, 1.7, 3.125]
    where = samples.positions(3)
    for index, plane in enumerate(stored):
        ds = samples.header(plane, series="1.1", RescaleSlope=str(slopes[index]))
        ds.ImagePositionPatient = list(where[index])
        samples.save(ds, plane, tmp_path / f"{index}.dcm")
    expected = stored * np.array(slopes)[:, None, None] - 1024
    np.testing.assert_allclose(read_scan(tmp_path).array, expected, rtol=1e-6)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_equals_uncompressed(tmp_path: Path, syntax: str, signed: bool) -> None:
    stored = samples.volume_stored(1, 72, 64)[0]
    if signed and syntax == JPEGLSLossless:
        pytest.skip("pyjpegls encodes no signed values")
    stored = (stored.astype(np.int16) - 2000) if signed else stored
    path = tmp_path / "a.dcm"
    samples.save(samples.header(stored, series="1.1"), stored, path, syntax)
    assert np.array_equal(read_scan(path).array, stored.astype(np.float32) - 1024)


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm"),
    ],
)
def test_bundled_twins_agree(packed: str, plain: str) -> None:
    first, second = samples.bundled(packed), samples.bundled(plain)
    if first is None or second is None:
        pytest.skip("pydicom's samples are not installed")
    a, b = read_scan(first).array, read_scan(second).array
    assert np.array_equal(a, b if a.ndim == b.ndim else b[0])


@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_value_marks_invalid(tmp_path: Path, value: int) -> None:
    """Explicit files often carry -2000 as its unsigned twin."""
    stored = np.full((8, 9), 24, np.int16)
    stored[2:4, 1:5] = -2000
    ds = samples.header(stored, series="1.1")
    ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    scan = read_scan(samples.save(ds, stored, tmp_path / "a.dcm"))
    assert scan.valid is not None
    assert np.array_equal(~scan.valid, stored == -2000)
    assert np.all(scan.array[scan.valid] == -1000)


def test_padding_range_is_inclusive(tmp_path: Path) -> None:
    stored = np.arange(20, dtype=np.uint16).reshape(4, 5)
    ds = samples.header(stored, series="1.1", PixelPaddingValue=7, PixelPaddingRangeLimit=3)
    scan = read_scan(samples.save(ds, stored, tmp_path / "a.dcm"))
    assert scan.valid is not None
    assert np.array_equal(stored[~scan.valid], [3, 4, 5, 6, 7])


def test_unmarked_padding_of_ct(tmp_path: Path) -> None:
    """Outside the circle -1500 fills the corners; one noisy pixel of air is no padding."""
    row, column = np.mgrid[:32, :32]
    outside = np.hypot(row - 15.5, column - 15.5) > 15
    hu = np.where(outside, -1500, -1000).astype(np.int16)
    hu[16, 16] = -1060
    ds = samples.header(hu, series="1.1", RescaleIntercept="0")
    scan = read_scan(samples.save(ds, hu, tmp_path / "a.dcm"))
    assert scan.valid is not None
    assert np.array_equal(~scan.valid, outside)


def test_monochrome1_is_mirrored_unless_hu(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    changes = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    ds = samples.header(stored, series="1.1", **changes)
    hu = read_scan(samples.save(ds, stored, tmp_path / "ct.dcm"))
    assert np.array_equal(hu.array, stored.astype(np.float32) - 1024)
    ds = samples.header(stored, series="1.1", Modality="DX", **changes)
    del ds.RescaleSlope, ds.RescaleIntercept
    dx = read_scan(samples.save(ds, stored, tmp_path / "dx.dcm"))
    assert np.array_equal(dx.array, 4095 - stored.astype(np.float32))


def test_enhanced_frames_are_sorted_and_rescaled(tmp_path: Path) -> None:
    stored = samples.volume_stored(4)
    order = [2, 0, 3, 1]
    slopes = [1.0, 0.5, 2.0, 0.25]
    where = samples.positions(4)[order]
    scan = read_scan(samples.write_enhanced(tmp_path / "e.dcm", stored, where, slopes))
    values = stored * np.array(slopes)[:, None, None] - 1000
    assert scan.axes == "zyx"
    assert scan.unit == "HU"
    assert np.array_equal(scan.array, values[np.argsort(order)].astype(np.float32))
    assert scan.spacing == pytest.approx((2.5, 0.5, 0.75))
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, 3], [-10, 20, 30], atol=1e-4)


def test_enhanced_frames_over_time(tmp_path: Path) -> None:
    stored = samples.volume_stored(6)
    where = samples.positions(3)[[0, 0, 1, 1, 2, 2]]
    times = [2, 1, 2, 1, 2, 1]
    path = samples.write_enhanced(tmp_path / "e.dcm", stored, where, [1] * 6, times)
    scan = read_scan(path)
    assert scan.axes == "tzyx"
    expected = stored[[[1, 3, 5], [0, 2, 4]]].astype(np.float32) - 1000
    assert np.array_equal(scan.array, expected)


def test_series_over_time(tmp_path: Path) -> None:
    stored = samples.volume_stored(6).reshape(2, 3, 12, 10)
    where = samples.positions(3)
    for time, slice_ in np.ndindex(2, 3):
        plane = stored[time, slice_]
        ds = samples.header(plane, series="1.1", AcquisitionTime=f"10590{7 + time}.500000")
        ds.ImagePositionPatient = list(where[slice_])
        samples.save(ds, plane, tmp_path / f"{slice_}{1 - time}.dcm")
    scan = read_scan(tmp_path)
    assert scan.axes == "tzyx"
    assert scan.time_step == pytest.approx(1.0)
    assert np.array_equal(scan.array, stored.astype(np.float32) - 1024)


def test_subject_is_the_patient_and_no_identifier(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    scans = []
    for name, study, patient in (("a", "1.2.3", "p1"), ("b", "1.2.9", "p1"), ("c", "1.2.3", "p2")):
        ds = samples.header(stored, series="1.1", study=study, PatientID=patient)
        scans.append(read_scan(samples.save(ds, stored, tmp_path / f"{name}.dcm")))
    assert scans[0].subject == scans[1].subject != scans[2].subject
    assert "p1" not in scans[0].subject
    assert "Doe" not in repr(scans[0])


def test_gap_names_the_missing_slices(tmp_path: Path) -> None:
    samples.write_series(tmp_path, samples.volume_stored(7), skip=(2, 3))
    with pytest.raises(UserError, match=r"2 slices are missing .* instance 2 and instance 5") as e:
        read_scan(tmp_path)
    assert "\n" not in str(e.value)


def test_uneven_slices(tmp_path: Path) -> None:
    stored = samples.volume_stored(4)
    for index, z in enumerate((0.0, 2.0, 4.7, 6.7)):
        ds = samples.header(stored[index], series="1.1", ImagePositionPatient=[0.0, 0.0, z])
        samples.save(ds, stored[index], tmp_path / f"{index}.dcm")
    with pytest.raises(UserError, match="unevenly spaced"):
        read_scan(tmp_path)


def test_duplicates(tmp_path: Path) -> None:
    paths = samples.write_series(tmp_path / "copies", samples.volume_stored(3))
    (tmp_path / "copies" / "copy.dcm").write_bytes(paths[0].read_bytes())
    with pytest.raises(UserError, match="there twice"):
        read_scan(tmp_path / "copies")
    for name in ("a", "b"):
        paths = samples.write_series(tmp_path / name, samples.volume_stored(3))
        for path in paths:
            path.rename(tmp_path / f"{name}{path.name}")
    with pytest.raises(UserError, match="2 images lie at each place"):
        read_scan(tmp_path)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    for series in ("1.1", "1.2"):
        for path in samples.write_series(
            tmp_path / series, samples.volume_stored(3), series=series
        ):
            path.rename(tmp_path / f"{series}-{path.name}")
    with pytest.raises(UserError, match="2 DICOM series"):
        read_scan(tmp_path)
    contents = read_folder(tmp_path)
    assert [len(ref.paths) for ref in contents.scans] == [3, 3]
    assert not contents.problems


def test_scout_in_the_series_is_a_scan_of_its_own(tmp_path: Path) -> None:
    stored = samples.volume_stored(3)
    samples.write_series(tmp_path, stored, series="1.1")
    scout = samples.header(stored[0], series="1.1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    samples.save(scout, stored[0], tmp_path / "scout.dcm")
    with pytest.raises(UserError, match="2 stacks of images"):
        read_scan(tmp_path)
    scans = [ref.read() for ref in read_folder(tmp_path).scans]
    assert sorted(scan.axes for scan in scans) == ["yx", "zyx"]
    assert next(scan for scan in scans if scan.axes == "yx").unit == ""
