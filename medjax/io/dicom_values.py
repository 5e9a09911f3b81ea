"""Stored DICOM integers to physical values, and which of them are padding."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Num
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from medjax.io.common import ct_valid, quiet
from medjax.io.dicom_file import attribute, first_number, frames_of, is_colour, number
from medjax.io.dicom_frames import group


@dataclasses.dataclass(frozen=True)
class Rescale:
    """value = slope * stored + intercept, per frame; `kind` is RescaleType."""

    slope: float
    intercept: float
    kind: str
    stated: bool


def rescale_of(ds: Dataset, index: int | None) -> Rescale:
    """The linear rescale of one frame (None: a classic single image); identity where unstated."""
    holder = group(ds, index, "PixelValueTransformationSequence")
    slope, intercept = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept")
    return Rescale(
        slope=slope if slope else 1.0,
        intercept=intercept if intercept is not None else 0.0,
        kind=str(attribute(holder, "RescaleType") or ""),
        stated=slope is not None and intercept is not None,
    )


def frame_index(ds: Dataset, frame: int) -> int | None:
    """How `group` wants the frame of `ds`: None for classic single images."""
    enhanced = "PerFrameFunctionalGroupsSequence" in ds or frames_of(ds) > 1
    return frame if enhanced else None


def unit_of(ds: Dataset) -> str:
    """ "HU" where a CT file means Hounsfield units, else ""."""
    if attribute(ds, "Modality") != "CT" or "LOCALIZER" in (attribute(ds, "ImageType") or ()):
        return ""
    rescale = rescale_of(ds, frame_index(ds, 0))
    return "HU" if rescale.stated and rescale.kind in ("", "HU") else ""


def inverted(ds: Dataset) -> bool:
    """True where values are mirrored on reading, because the file shows large ones dark.

    MONOCHROME1 radiographs mean that large stored values are dark. They are mirrored within the
    stored range, so that large is bright in every `Scan`; Hounsfield units stay as they are.
    """
    return ds.PhotometricInterpretation == "MONOCHROME1" and unit_of(ds) != "HU"


def mirror(ds: Dataset) -> int:
    """`mirror - stored` turns a MONOCHROME1 stored value round within its range."""
    bits = int(ds.BitsStored)
    return -1 if int(ds.PixelRepresentation) else 2**bits - 1


def padding_range(ds: Dataset) -> tuple[int, int] | None:
    """First and last stored value that mean padding; None where the file names none.

    Files with an explicit VR often carry a negative value as its unsigned twin.
    """
    first = _stored_padding(ds, "PixelPaddingValue")
    if first is None:
        return None
    last = _stored_padding(ds, "PixelPaddingRangeLimit")
    last = first if last is None else last
    return min(first, last), max(first, last)


def _stored_padding(ds: Dataset, keyword: str) -> int | None:
    value = attribute(ds, keyword)
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    found = first_number(value)
    if found is None:
        return None
    bits = int(ds.BitsAllocated)
    wrapped = int(found) % 2**bits
    if int(ds.get("PixelRepresentation") or 0) and wrapped >= 2 ** (bits - 1):
        return wrapped - 2**bits
    return wrapped


def has_lut(ds: Dataset) -> bool:
    """True where a table, not a line, maps stored to physical values."""
    return bool(attribute(ds, "ModalityLUTSequence"))


def to_values(
    ds: Dataset, stored: Num[np.ndarray, "frames y x ..."]
) -> tuple[Float32[np.ndarray, "frames y x ..."], Bool[np.ndarray, "frames y x"] | None]:
    """Physical values of all frames of one file, and the mask of those that are no padding.

    Colour has no rescale and no padding. Values of padding are kept as the file has them.
    """
    if is_colour(ds):
        return stored.astype(np.float32), None
    valid = np.ones(stored.shape, bool)
    padding = padding_range(ds)
    if padding is not None:
        valid &= (stored < padding[0]) | (stored > padding[1])
    if has_lut(ds):
        with quiet():
            values = np.asarray(apply_modality_lut(stored, ds)).astype(np.float32)
    else:
        values = _rescaled(ds, stored)
    if unit_of(ds) == "HU":
        valid &= ct_valid(values, corners=padding is None)
    return values, None if valid.all() else valid


def _rescaled(
    ds: Dataset, stored: Num[np.ndarray, "frames y x"]
) -> Float32[np.ndarray, "frames y x"]:
    values = np.empty(stored.shape, np.float32)
    for frame, plane in enumerate(stored):
        rescale = rescale_of(ds, frame_index(ds, frame))
        plane = mirror(ds) - plane.astype(np.float64) if inverted(ds) else plane
        values[frame] = plane * np.float64(rescale.slope) + rescale.intercept
    return values
