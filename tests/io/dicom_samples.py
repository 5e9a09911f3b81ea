"""Small DICOM files written by pydicom alone, for tests of reader and writer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# A proper oblique pair: columns then rows, orthonormal.
OBLIQUE = (0.8, 0.36, -0.48, 0.0, 0.8, 0.6)


def bundled(name: str) -> Path | None:
    """A file of pydicom's own samples; None where it is not installed. Never downloads."""
    found = get_testdata_file(name, download=False)
    return Path(found) if found else None


def header(stored: np.ndarray, *, series: str, study: str = "1.2.3", **changes) -> Dataset:
    """A CT image header that fits the stored integers."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName = "CT", "patient-7", "Doe^Jane"
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate = "19700101", "F", "20200102"
    ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = "101112", "", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.StudyID = study, series, "5"
    ds.FrameOfReferenceUID, ds.SeriesNumber, ds.InstanceNumber = "1.2.4", 3, 1
    ds.SeriesDescription, ds.ImageType = "thorax", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "-1024", "HU"
    ds.ImageOrientationPatient, ds.ImagePositionPatient = list(AXIAL), [0.0, 0.0, 0.0]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.75], "9"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, stored: np.ndarray, path: Path, syntax: str | None = None) -> Path:
    """Writes the file; `syntax` compresses it with pydicom's encoders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = np.ascontiguousarray(stored).tobytes()
    ds["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    if syntax is not None:
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def volume_stored(slices: int = 5, rows: int = 12, columns: int = 10, seed: int = 0) -> np.ndarray:
    """Random unsigned 12-bit values, another for every voxel's place."""
    return np.random.default_rng(seed).integers(0, 4096, (slices, rows, columns), np.uint16)


def positions(
    count: int, orientation: Sequence[float] = AXIAL, step: float = 2.5, tilt: float = 0.0
) -> np.ndarray:
    """Slice positions along the normal, sheared along the rows by `tilt` mm a slice."""
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(across, down)
    return np.array([10.0, -20.0, 30.0]) + np.arange(count)[:, None] * (step * normal + tilt * down)


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    series: str = "1.9.8",
    orientation: Sequence[float] = AXIAL,
    tilt: float = 0.0,
    bits: int = 12,
    skip: Sequence[int] = (),
    seed: int = 1,
    **changes,
) -> list[Path]:
    """One CT series whose file names are in no order of the slices."""
    where = positions(len(stored), orientation, tilt=tilt)
    names = np.random.default_rng(seed).permutation(len(stored))
    paths = []
    for index, plane in enumerate(stored):
        if index in skip:
            continue
        ds = header(plane, series=series, **changes)
        ds.InstanceNumber = index + 1
        ds.ImageOrientationPatient = list(orientation)
        ds.ImagePositionPatient = [round(float(v), 6) for v in where[index]]
        ds.BitsStored, ds.HighBit = bits, bits - 1
        paths.append(save(ds, plane, folder / f"{names[index]:03d}.dcm"))
    return paths


def item(**values) -> Items:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return Items([ds])


def write_enhanced(
    path: Path,
    stored: np.ndarray,
    places: np.ndarray,
    slopes: Sequence[float],
    times: Sequence[int] | None = None,
) -> Path:
    """An enhanced CT whose frames lie at `places`, each with a slope of its own."""
    ds = header(stored, series="1.9.9", SOPClassUID=EnhancedCTImageStorage)
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(ds, name)
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType", "SliceThickness"):
        delattr(ds, name)
    ds.NumberOfFrames = len(stored)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.75], SliceThickness="9")
    shared.CTImageFrameTypeSequence = item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for index, place in enumerate(places):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[float(v) for v in place])
        frame.PixelValueTransformationSequence = item(
            RescaleSlope=str(slopes[index]), RescaleIntercept="-1000", RescaleType="HU"
        )
        if times is not None:
            frame.FrameContentSequence = item(TemporalPositionIndex=times[index])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    return save(ds, stored, path)
