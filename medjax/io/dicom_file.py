"""One DICOM file: opened, checked, its pixels decoded."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medjax.errors import UserError
from medjax.io.common import pseudonym, quiet, stem

BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom and its decoders raise on damaged or foreign files."""

NOT_IMAGES = frozenset(
    {"RTSTRUCT", "RTPLAN", "RTDOSE", "SEG", "SR", "PR", "KO", "REG", "ECG", "DOC"}
)
"""Modalities of DICOM objects that describe images, and are none to restore."""

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class NoImageError(UserError):
    """A sound DICOM file that holds no image: a report, a plan, an index."""


def is_dicom(path: Path) -> bool:
    """True where the file carries DICOM's magic number."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_dicom(path: Path, *, pixels: bool = True) -> Dataset:
    """The data set of one DICOM file, with or without its pixel data.

    Raises:
      NoImageError: the file is DICOM but no image.
      UserError: the file is no DICOM file or is damaged.
    """
    try:
        with quiet():
            magic = is_dicom(path)
            ds = dcmread(path, stop_before_pixels=not pixels, force=not magic)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; check its permissions") from None
    except (InvalidDicomError, *BROKEN) as error:
        raise UserError(_damaged(path, error) if _has_magic(path) else _foreign(path)) from error
    _check(ds, path, magic=magic, pixels=pixels)
    return ds


def _has_magic(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError:
        return False


def _foreign(path: Path) -> str:
    if path.stat().st_size == 0:
        return f"{path}: the file is empty; copy it again"
    return f"{path}: not a DICOM file, whatever its name; remove it or give a DICOM file"


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: damaged DICOM file ({type(error).__name__}); export or copy it again"


def _check(ds: Dataset, path: Path, *, magic: bool, pixels: bool) -> None:
    with quiet():
        if ds.get("SOPClassUID") is None and ds.get("Rows") is None:
            if magic and "DirectoryRecordSequence" in ds:
                raise NoImageError(
                    f"{path}: an index of a disc (DICOMDIR); give the folder instead"
                )
            if not magic:
                raise UserError(_foreign(path))
            raise UserError(
                f"{path}: DICOM file without image or identity, probably truncated; "
                "export or copy it again"
            )
        modality = str(ds.get("Modality", ""))
        if modality in NOT_IMAGES or ds.get("Rows") is None:
            raise NoImageError(
                f"{path}: holds no image to restore ({modality or 'no modality'}); "
                "give an image file"
            )
        if pixels and not any(name in ds for name in PIXELS):
            raise UserError(f"{path}: has an image header but no pixel data; export it again")
        for name in ("Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"):
            if ds.get(name) in (None, 0, ""):
                raise UserError(f"{path}: damaged DICOM file (no {name}); export it again")
        _give_syntax(ds)


def _give_syntax(ds: Dataset) -> None:
    """Files without the file meta group say their encoding only by how they could be read."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def decode(ds: Dataset, path: Path) -> Num[np.ndarray, "..."]:
    """Stored values, [frame], y, x, [colour]; palettes applied, YBR turned into RGB.

    Raises:
      UserError: truncated pixel data, or a transfer syntax that no installed decoder knows.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    try:
        with quiet():
            stored = pixel_array(ds)
            if ds.PhotometricInterpretation == "PALETTE COLOR":
                stored = _byte_deep(apply_color_lut(stored, ds))
    except NotImplementedError as error:
        raise UserError(
            f"{path}: pixels are compressed as {syntax.name!r}, which no decoder here reads; "
            "export the scan uncompressed"
        ) from error
    except BROKEN as error:
        raise UserError(
            f"{path}: pixel data ({syntax.name}) are damaged or truncated; export or copy it again"
        ) from error
    expected = (int(ds.Rows), int(ds.Columns))
    spatial = stored.shape[-3:-1] if is_colour(ds) else stored.shape[-2:]
    if spatial != expected:
        raise UserError(
            f"{path}: header says {expected[0]}x{expected[1]} pixels, the data hold "
            f"{spatial[0]}x{spatial[1]}; export it again"
        )
    return stored


def _byte_deep(colours: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
    """Palettes of 16 bits mostly hold 8: each byte doubled, or followed by zero."""
    high = colours >> 8
    if np.array_equal(colours, high * high.dtype.type(257)) or np.array_equal(colours, high << 8):
        return high.astype(np.uint8)
    return colours


def is_colour(ds: Dataset) -> bool:
    """True where `decode` appends a colour axis."""
    return int(ds.SamplesPerPixel) > 1 or ds.PhotometricInterpretation == "PALETTE COLOR"


def frames_of(ds: Dataset) -> int:
    """Number of frames, 1 for a single image."""
    return int(ds.get("NumberOfFrames") or 1)


def subject_of(ds: Dataset, path: Path) -> str:
    """The pseudonym of PatientID and its issuer; of the study, then the file, without them."""
    with quiet():
        patient = str(ds.get("PatientID") or "").strip()
        issuer = str(ds.get("IssuerOfPatientID") or "").strip()
        study = str(ds.get("StudyInstanceUID") or "").strip()
    if patient:
        return pseudonym("patient", patient, issuer)
    return pseudonym("study", study) if study else stem(path)


def number(ds: Dataset, keyword: str) -> float | None:
    """One numeric attribute, None where absent, empty or unreadable."""
    return first_number(attribute(ds, keyword))


def attribute(ds: Dataset, keyword: str) -> Any:
    """One attribute's value, None where absent or unreadable."""
    try:
        with quiet():
            return ds.get(keyword)
    except BROKEN:
        return None


def first_number(value: Any) -> float | None:
    """`value` as a finite float, None where it is none."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return None
    return result if np.isfinite(result) else None


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` numbers of one attribute, None where absent or malformed."""
    value = attribute(ds, keyword)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__"):
        return None
    found = tuple(first_number(v) for v in value)
    if len(found) != count or any(v is None for v in found):
        return None
    return tuple(v for v in found if v is not None)
