"""Derived DICOM: what pydicom alone finds in the files that were written."""

from pathlib import Path

import dicom_samples as samples
import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from medjax.errors import UserError
from medjax.io import read_scan, write_scan

KEPT = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def hu_of(ds: pydicom.Dataset) -> np.ndarray:
    return np.asarray(apply_rescale(ds.pixel_array, ds))


def test_series_to_folder(tmp_path: Path) -> None:
    stored = samples.volume_stored()
    sources = samples.write_series(tmp_path / "in", stored, orientation=samples.OBLIQUE)
    before = [path.read_bytes() for path in sources]
    scan = read_scan(tmp_path / "in")
    noise = np.random.default_rng(3).normal(0, 0.2, scan.array.shape).astype(np.float32)
    restored = scan.replace(array=np.clip(scan.array + noise, -1024, 3071))
    written = write_scan(restored, tmp_path / "out", description="U-Net")
    assert [path.read_bytes() for path in sources] == before
    assert len(written) == 5
    files = [pydicom.dcmread(path) for path in written]
    originals = [pydicom.dcmread(path) for path in sources]
    for index, (new, old) in enumerate(zip(files, originals, strict=True)):
        for keyword in (*KEPT, *PLACE, "BitsStored", "PixelRepresentation", "RescaleIntercept"):
            assert new[keyword].value == old[keyword].value, keyword
        assert new.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert list(new.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert new.SeriesDescription == "thorax medjax U-Net"
        assert "U-Net" in new.DerivationDescription
        reference = new.SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.ContributingEquipmentSequence[-1].Manufacturer == "medjax"
        assert np.max(np.abs(hu_of(new) - restored.array[index])) <= 0.5
    assert len({ds.SeriesInstanceUID for ds in files}) == 1
    assert files[0].SeriesInstanceUID != originals[0].SeriesInstanceUID
    uids = {ds.SOPInstanceUID for ds in (*files, *originals)}
    assert len(uids) == 10
    again = read_scan(tmp_path / "out")
    np.testing.assert_array_equal(again.affine, scan.affine)


def test_unchanged_values_come_back_exactly(tmp_path: Path) -> None:
    stored = samples.volume_stored(1, 72, 64)[0]
    ds = samples.header(stored, series="1.1", SmallestImagePixelValue=9, LargestImagePixelValue=9)
    samples.save(ds, stored, tmp_path / "a.dcm", JPEG2000Lossless)
    scan = read_scan(tmp_path / "a.dcm")
    (path,) = write_scan(scan, tmp_path / "b.dcm", description="x")
    new = pydicom.dcmread(path)
    assert np.array_equal(new.pixel_array, stored)
    assert new.SmallestImagePixelValue == stored.min()
    assert new.LargestImagePixelValue == stored.max()


@pytest.mark.parametrize(
    ("low", "high", "bits", "signed", "slope"),
    [
        (-1024, 3071, 12, 0, 1.0),
        (-1024, 5000, 16, 0, 1.0),
        (-1400, 5000, 16, 1, 1.0),
        (-1400, 90000, 16, 1, None),
    ],
)
def test_range_beyond_the_original(
    tmp_path: Path, low: float, high: float, bits: int, signed: int, slope: float | None
) -> None:
    stored = samples.volume_stored(3)
    samples.write_series(tmp_path / "in", stored)
    scan = read_scan(tmp_path / "in")
    values = np.random.default_rng(0).uniform(low, high, stored.shape).astype(np.float32)
    values[0, 5, 5], values[1, 5, 5] = low, high
    files = write_scan(scan.replace(array=values), tmp_path / "out", description="x")
    for path, plane in zip(files, values, strict=True):
        ds = pydicom.dcmread(path)
        assert (ds.BitsStored, ds.PixelRepresentation) == (bits, signed)
        assert slope is None or ds.RescaleSlope == slope
        assert ds.RescaleType == "HU"
        assert np.max(np.abs(hu_of(ds) - plane)) <= 0.5 * ds.RescaleSlope * 1.001


def test_padding_stays_padding(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 2000, (16, 16)).astype(np.int16)
    stored[:5] = -2000
    ds = samples.header(stored, series="1.1")
    ds.add_new("PixelPaddingValue", "SS", -2000)
    scan = read_scan(samples.save(ds, stored, tmp_path / "a.dcm"))
    # A network writes anything where there is padding, also into the valid range.
    for name, offset in (("same", 0.0), ("own", 70000.0)):
        array = np.where(scan.valid, scan.array + offset, 123.0).astype(np.float32)
        array[8, 8] = -1024
        restored = scan.replace(array=array)
        (path,) = write_scan(restored, tmp_path / f"{name}.dcm", description="x")
        new = pydicom.dcmread(path)
        padded = new.pixel_array == new.PixelPaddingValue
        assert np.array_equal(padded, stored == -2000)
        tolerance = 0.501 * new.RescaleSlope
        assert np.max(np.abs(hu_of(new) - array)[~padded]) <= tolerance


def test_valid_value_never_becomes_padding(tmp_path: Path) -> None:
    """Padding 0 means -1024 HU in many CTs: restored air must not round into it."""
    stored = np.full((8, 8), 100, np.uint16)
    stored[0] = 0
    ds = samples.header(stored, series="1.1", PixelPaddingValue=0)
    scan = read_scan(samples.save(ds, stored, tmp_path / "a.dcm"))
    restored = scan.replace(array=np.full((8, 8), -1024.2, np.float32))
    write_scan(restored, tmp_path / "b.dcm", description="x")
    again = read_scan(tmp_path / "b.dcm")
    assert scan.valid is not None
    assert again.valid is not None
    assert np.array_equal(scan.valid, again.valid)
    np.testing.assert_allclose(again.array[again.valid], -1024.2, atol=0.1)


def test_enhanced_stays_enhanced(tmp_path: Path) -> None:
    stored = samples.volume_stored(4)
    where = samples.positions(4)[[2, 0, 3, 1]]
    path = samples.write_enhanced(tmp_path / "e.dcm", stored, where, [1, 0.5, 2, 0.25])
    scan = read_scan(path)
    write_scan(scan, tmp_path / "f.dcm", description="x")
    new = pydicom.dcmread(tmp_path / "f.dcm")
    assert np.array_equal(new.pixel_array, stored)
    # The standard allows no SECONDARY in enhanced objects.
    assert list(new.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "FILTERED"]
    frame_type = new.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0].FrameType
    assert frame_type[0] == "DERIVED"
    wide = scan.replace(array=scan.array * 40)
    write_scan(wide, tmp_path / "g.dcm", description="x")
    new = pydicom.dcmread(tmp_path / "g.dcm")
    shared = new.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    hu = new.pixel_array * float(shared.RescaleSlope) + float(shared.RescaleIntercept)
    back = np.empty_like(hu)
    back[[2, 0, 3, 1]] = hu
    assert np.max(np.abs(back - wide.array)) <= 0.51 * float(shared.RescaleSlope)
    assert "PixelValueTransformationSequence" not in new.PerFrameFunctionalGroupsSequence[0]


def test_monochrome1_comes_back(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    ds = samples.header(stored, series="1.1", Modality="DX", BitsStored=12, HighBit=11)
    ds.PhotometricInterpretation = "MONOCHROME1"
    del ds.RescaleSlope, ds.RescaleIntercept
    scan = read_scan(samples.save(ds, stored, tmp_path / "a.dcm"))
    write_scan(scan, tmp_path / "b.dcm", description="x")
    new = pydicom.dcmread(tmp_path / "b.dcm")
    assert new.PhotometricInterpretation == "MONOCHROME1"
    assert np.array_equal(new.pixel_array, stored)
    wide = scan.replace(array=scan.array * 3)
    write_scan(wide, tmp_path / "c.dcm", description="x")
    assert pydicom.dcmread(tmp_path / "c.dcm").PhotometricInterpretation == "MONOCHROME2"
    np.testing.assert_allclose(read_scan(tmp_path / "c.dcm").array, wide.array, atol=0.2)


def test_colour_palette_and_big_endian(tmp_path: Path) -> None:
    for name in (
        "examples_ybr_color.dcm",
        "examples_palette.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
    ):
        path = samples.bundled(name)
        if path is None:
            pytest.skip("pydicom's samples are not installed")
        scan = read_scan(path)
        write_scan(scan, tmp_path / name, description="x")
        new = pydicom.dcmread(tmp_path / name)
        assert new.PhotometricInterpretation == "RGB"
        assert np.array_equal(new.pixel_array, scan.array)


def test_signatures_and_thumbnails_go(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    ds = samples.header(stored, series="1.1", LossyImageCompression="01")
    ds.IconImageSequence = samples.item(Rows=4)
    ds.SeriesDescription = "a very long description of a series, 60 characters at most!"
    samples.save(ds, stored, tmp_path / "a.dcm")
    scan = read_scan(tmp_path / "a.dcm")
    write_scan(scan, tmp_path / "b.dcm", description="4-D cGAN")
    new = pydicom.dcmread(tmp_path / "b.dcm")
    assert "IconImageSequence" not in new
    assert new.LossyImageCompression == "01"
    assert len(new.SeriesDescription) <= 64
    assert new.SeriesDescription.endswith("medjax 4-D cGAN")


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    samples.write_series(tmp_path / "in", samples.volume_stored(3))
    scan = read_scan(tmp_path / "in")
    with pytest.raises(UserError, match="never overwritten"):
        write_scan(scan, tmp_path / "in", description="x")
    with pytest.raises(UserError, match="name a folder"):
        write_scan(scan, tmp_path / "a.dcm", description="x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        write_scan(scan, tmp_path / "full", description="x")
    one = read_scan(next((tmp_path / "in").iterdir()))
    with pytest.raises(UserError, match="never overwritten"):
        write_scan(one, one.source, description="x")
    (tmp_path / "link.dcm").symlink_to(one.source)
    with pytest.raises(UserError, match="never overwritten"):
        write_scan(one, tmp_path / "link.dcm", description="x")
    with pytest.raises(UserError, match="never overwritten"):
        write_scan(one, one.source.parent, description="x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "in", "link.dcm"]


def test_no_dicom_from_a_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4)))
    with pytest.raises(UserError, match="only scans read from DICOM"):
        write_scan(read_scan(tmp_path / "a.npy"), tmp_path / "a.dcm", description="x")
    with pytest.raises(UserError, match="unknown kind of file"):
        write_scan(read_scan(tmp_path / "a.npy"), tmp_path / "a.nifty", description="x")


def test_one_file_into_a_folder(tmp_path: Path) -> None:
    (source,) = samples.write_series(tmp_path / "in", samples.volume_stored(1))
    source = source.rename(tmp_path / "in" / "IM0001")
    scan = read_scan(source)
    (written,) = write_scan(scan, tmp_path / "out", description="x")
    assert written == tmp_path / "out" / "IM0001.dcm"
    assert np.array_equal(read_scan(written).array, scan.array)


def test_lossy_source_says_so(tmp_path: Path) -> None:
    path = samples.bundled("SC_rgb_jpeg_lossy_gdcm.dcm")
    if path is None:
        pytest.skip("pydicom's samples are not installed")
    write_scan(read_scan(path), tmp_path / "a.dcm", description="x")
    assert pydicom.dcmread(tmp_path / "a.dcm").LossyImageCompression == "01"
