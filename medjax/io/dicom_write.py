"""A restored Scan as a derived DICOM series: one new file for each that was read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medjax.errors import UserError
from medjax.io.common import atomic, atomic_folder, quiet, require_finite
from medjax.io.dicom import Source
from medjax.io.dicom_derive import Stamp, derive
from medjax.io.dicom_file import BROKEN, frames_of, is_colour
from medjax.io.dicom_store import (
    OWN_PADDING,
    Layout,
    Plane,
    store,
    store_colour,
    store_grey_bytes,
)
from medjax.io.dicom_values import (
    Rescale,
    frame_index,
    has_lut,
    inverted,
    padding_range,
    rescale_of,
)
from medjax.scan import Scan

PALETTE = ("Red", "Green", "Blue", "Alpha")
EXTREMES = ("SmallestImagePixelValue", "LargestImagePixelValue")
SERIES_EXTREMES = ("SmallestPixelValueInSeries", "LargestPixelValueInSeries")


def write_dicom(restored: Scan, path: Path, *, description: str) -> tuple[Path, ...]:
    """Writes a file for a file, or a folder of files for a series, uncompressed.

    Rounded to stored integers, a value is off by at most half a stored unit; 8-bit pictures
    without rescale and colour are cut at black and white. Padding pixels stay as they were.

    Raises:
      UserError: not read from DICOM, non-finite values, a folder that is not empty, or an original
        whose header cannot be written.
    """
    kept = restored.header.get("source")
    if not isinstance(kept, Source):
        raise UserError(
            f"{path}: only scans read from DICOM can be written as DICOM; write .nii.gz instead"
        )
    require_finite(restored.array, path)
    values = _in_file_order(restored, kept)
    with quiet():
        _require_identity(kept)
        layout, stored = _store(kept, values)
        padded = any(len(padding) for padding in kept.padding)
        files = _derived_files(kept, Stamp.new(description), layout, stored, padded=padded)
    if len(files) == 1:
        with atomic(path) as temporary:
            _save(files[0], temporary, path)
        return (path,)
    names = _names(kept)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: is there and not an empty folder; name a new one")
    with atomic_folder(path) as temporary:
        for ds, name in zip(files, names, strict=True):
            _save(ds, temporary / name, path)
    return tuple(path / name for name in sorted(names))


def _require_identity(kept: Source) -> None:
    for ds, path in zip(kept.datasets, kept.paths, strict=True):
        if "SOPClassUID" not in ds or "SOPInstanceUID" not in ds:
            raise UserError(f"{path}: has no DICOM identity to derive from; write .nii.gz instead")


def _names(kept: Source) -> list[str]:
    """File names in the order of the slices, for each file as it was read."""
    rank = np.empty(kept.order.size, int)
    rank[kept.order.ravel()] = np.arange(kept.order.size)
    return [f"{place + 1:05d}.dcm" for place in rank]


def _in_file_order(restored: Scan, kept: Source) -> Float32[np.ndarray, "frames y x ..."]:
    planes = 3 if restored.axes.endswith("c") else 2
    ds = kept.datasets[0]
    colour = (3,) if is_colour(ds) else ()
    lead = restored.array.shape[: restored.array.ndim - planes]
    expected = (int(ds.Rows), int(ds.Columns), *colour)
    if restored.array.shape[len(lead) :] != expected or np.prod(lead) != kept.order.size:
        raise ValueError(f"array of shape {restored.array.shape} for a scan read differently")
    values = np.empty((kept.order.size, *expected), np.float32)
    values[kept.order.ravel()] = restored.array.reshape(values.shape)
    return values


def _store(
    kept: Source, values: Float32[np.ndarray, "frames y x ..."]
) -> tuple[Layout, Sequence[Integer[np.ndarray, "y x ..."]]]:
    first = kept.datasets[0]
    if is_colour(first):
        layout, colour = store_colour(values, first)
        return layout, list(colour)
    owners = [(ds, frame) for ds in kept.datasets for frame in range(frames_of(ds))]
    rescales = [rescale_of(ds, frame_index(ds, frame)) for ds, frame in owners]
    if _display(first, rescales[0]) and all(mask.all() for mask in kept.valid):
        layout, grey = store_grey_bytes(values)
        return layout, list(grey)
    if "PixelRepresentation" not in first:
        raise UserError(
            f"{kept.paths[0]}: floating-point DICOM cannot be written; write .nii.gz instead"
        )
    return store(
        [
            Plane(values[i], kept.valid[i], kept.padding[i], ds, rescales[i])
            for i, (ds, _) in enumerate(owners)
        ]
    )


def _display(ds: Dataset, rescale: Rescale) -> bool:
    """True for 8-bit pictures meant for the eye, whose values have no meaning past white."""
    plain = not rescale.stated and not has_lut(ds) and not inverted(ds)
    return plain and int(ds.BitsAllocated) == 8 and not int(ds.get("PixelRepresentation") or 0)


def _derived_files(
    kept: Source,
    stamp: Stamp,
    layout: Layout,
    stored: Sequence[Integer[np.ndarray, "y x ..."]],
    *,
    padded: bool,
) -> list[Dataset]:
    files = []
    start = 0
    extremes = min(int(s.min()) for s in stored), max(int(s.max()) for s in stored)
    for ds in kept.datasets:
        frames = np.stack(stored[start : start + frames_of(ds)])
        start += len(frames)
        derived = derive(ds, stamp)
        _put_pixels(derived, layout, frames, extremes)
        if layout.rescale is not None:
            _put_rescale(derived, layout.rescale, padded=padded)
        files.append(derived)
    return files


def _put_pixels(
    derived: Dataset,
    layout: Layout,
    frames: Integer[np.ndarray, "frames y x ..."],
    series: tuple[int, int],
) -> None:
    numeric = "SS" if layout.signed else "US"
    own = int(frames.min()), int(frames.max())
    for names, values in ((EXTREMES, own), (SERIES_EXTREMES, series)):
        for name, value in zip(names, values, strict=True):
            if name in derived:
                _put(derived, name, numeric, value)
    if layout.rescale is None:
        _keep_padding(derived, layout, numeric)
    derived.BitsAllocated, derived.BitsStored = layout.allocated, layout.stored
    derived.HighBit = layout.stored - 1
    derived.PixelRepresentation = int(layout.signed)
    if is_colour(derived):
        derived.SamplesPerPixel, derived.PlanarConfiguration = 3, 0
        derived.PhotometricInterpretation = "RGB"
        for colour in PALETTE:
            for part in ("PaletteColorLookupTableDescriptor", "PaletteColorLookupTableData"):
                if f"{colour}{part}" in derived:
                    del derived[f"{colour}{part}"]
    data = frames.tobytes()
    even = data + b"\0" * (len(data) % 2)
    _put(derived, "PixelData", "OB" if layout.allocated == 8 else "OW", even)


def _put(ds: Dataset, keyword: str, vr: str, value: object) -> None:
    if keyword in ds:
        del ds[keyword]
    setattr(ds, keyword, value)
    ds[keyword].VR = vr


def _keep_padding(derived: Dataset, layout: Layout, numeric: str) -> None:
    """The padding value with the sign of the new layout; dropped where that cannot hold it."""
    padding = padding_range(derived)
    if padding is None:
        return
    limits = np.iinfo(layout.dtype)
    fits = limits.min <= padding[0] and padding[1] <= limits.max
    for name, value in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), padding, strict=True):
        if name in derived and fits:
            _put(derived, name, numeric, value)
        elif name in derived:
            del derived[name]


def _put_rescale(derived: Dataset, rescale: Rescale, *, padded: bool) -> None:
    """Replaces every older way from stored values to physical ones."""
    for name in ("ModalityLUTSequence", "RealWorldValueMappingSequence", "PixelPaddingRangeLimit"):
        if name in derived:
            del derived[name]
    if "PixelPaddingValue" in derived:
        del derived["PixelPaddingValue"]
    if padded:
        _put(derived, "PixelPaddingValue", "SS", OWN_PADDING)
    if derived.PhotometricInterpretation == "MONOCHROME1":
        _as_monochrome2(derived)
    shared = derived.get("SharedFunctionalGroupsSequence")
    if not shared:
        _write_rescale(derived, rescale)
        return
    for functional in (*derived.get("PerFrameFunctionalGroupsSequence", ()), *shared):
        for name in ("PixelValueTransformationSequence", "RealWorldValueMappingSequence"):
            if name in functional:
                del functional[name]
    item = Dataset()
    _write_rescale(item, rescale)
    shared[0].PixelValueTransformationSequence = Items([item])


def _write_rescale(holder: Dataset, rescale: Rescale) -> None:
    holder.RescaleIntercept = f"{rescale.intercept:.8g}"
    holder.RescaleSlope = f"{rescale.slope:.4g}"
    holder.RescaleType = rescale.kind or "US"


def _as_monochrome2(derived: Dataset) -> None:
    """Values now grow with brightness, as in the Scan; the old windows meant the reverse."""
    derived.PhotometricInterpretation = "MONOCHROME2"
    if "PresentationLUTShape" in derived:
        derived.PresentationLUTShape = "IDENTITY"
    for name in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTSequence"):
        if name in derived:
            del derived[name]


def _save(ds: Dataset, temporary: Path, path: Path) -> None:
    try:
        with quiet():
            ds.save_as(temporary, enforce_file_format=True, little_endian=True, implicit_vr=False)
    except BROKEN as error:
        raise UserError(
            f"{path}: the original's header cannot be written back ({type(error).__name__}); "
            "write .nii.gz instead"
        ) from error
