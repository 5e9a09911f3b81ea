"""Physical values back to stored DICOM integers, by the original's own rule where they fit it."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, Num
from pydicom.dataset import Dataset

from medjax.io.dicom_file import is_colour
from medjax.io.dicom_values import Rescale, has_lut, inverted, mirror, padding_range, unit_of

LOG = logging.getLogger(__name__)
OWN_PADDING = -32768
"""Stored value of padding where a rescale of our own replaces the original's."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a series is stored.

    Attributes:
      allocated, stored, signed: BitsAllocated, BitsStored, PixelRepresentation.
      rescale: the one new rescale of all frames; None: each frame keeps its own.
    """

    allocated: int
    stored: int
    signed: bool
    rescale: Rescale | None = None

    @property
    def dtype(self) -> np.dtype:
        """Of the array behind PixelData."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value that BitsStored can hold."""
        if self.signed:
            return -(2 ** (self.stored - 1)), 2 ** (self.stored - 1) - 1
        return 0, 2**self.stored - 1


@dataclasses.dataclass(frozen=True)
class Plane:
    """One frame to be stored: its values, its original's header and rescale, and its padding.

    `padding` are the original stored values where `valid` is False, in the order of the mask.
    """

    values: Float32[np.ndarray, "y x"]
    valid: Bool[np.ndarray, "y x"]
    padding: Num[np.ndarray, "n"]
    ds: Dataset
    rescale: Rescale


def store(planes: Sequence[Plane]) -> tuple[Layout, list[Integer[np.ndarray, "y x"]]]:
    """Integers for all frames of a series, and the layout that they share.

    The original layout and rescale stay where all values fit. Else the integers become 16 bits
    wide, then signed; and where that is not enough, or a value would round to the padding value,
    one new rescale spreads the range of the series over int16. Either way a value is off by at
    most half a stored unit. Padding pixels stay padding.
    """
    first = planes[0].ds
    if not has_lut(first):
        raw = [_by_original_rule(plane) for plane in planes]
        low, high = min(int(r.min()) for r in raw), max(int(r.max()) for r in raw)
        if not any(_hits_padding(plane, r) for plane, r in zip(planes, raw, strict=True)):
            for layout in _layouts(first, mirrored=inverted(first)):
                if layout.limits[0] <= low and high <= layout.limits[1]:
                    return layout, [r.astype(layout.dtype) for r in raw]
    return _by_own_rule(planes)


def _layouts(ds: Dataset, *, mirrored: bool) -> list[Layout]:
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    layouts = [Layout(allocated, stored, bool(ds.PixelRepresentation))]
    # A mirrored image is mirrored within its range of bits: another range, another picture.
    if not mirrored and allocated <= 16:
        layouts += [Layout(16, 16, bool(ds.PixelRepresentation)), Layout(16, 16, True)]
    return layouts


def _by_original_rule(plane: Plane) -> Float[np.ndarray, "y x"]:
    raw = (plane.values.astype(np.float64) - plane.rescale.intercept) / plane.rescale.slope
    raw = np.rint(raw)
    if inverted(plane.ds):
        raw = mirror(plane.ds) - raw
    raw[~plane.valid] = plane.padding
    return raw


def _hits_padding(plane: Plane, raw: Float[np.ndarray, "y x"]) -> bool:
    padding = padding_range(plane.ds)
    if padding is None:
        return False
    inside = (raw >= padding[0]) & (raw <= padding[1])
    return bool(np.any(inside & plane.valid))


def _by_own_rule(planes: Sequence[Plane]) -> tuple[Layout, list[Integer[np.ndarray, "y x"]]]:
    valid = [plane.values[plane.valid] for plane in planes if plane.valid.any()]
    low = min((float(v.min()) for v in valid), default=0.0)
    high = max((float(v.max()) for v in valid), default=0.0)
    kind = "HU" if unit_of(planes[0].ds) == "HU" else planes[0].rescale.kind or "US"
    rescale = _fit(low, high, kind)
    stored = []
    for plane in planes:
        raw = (plane.values.astype(np.float64) - rescale.intercept) / rescale.slope
        raw = np.clip(np.rint(raw), -32767, 32767)
        raw[~plane.valid] = OWN_PADDING
        stored.append(raw.astype("<i2"))
    return Layout(16, 16, True, rescale), stored


def _fit(low: float, high: float, kind: str) -> Rescale:
    """Slope and intercept that spread a range over +-32767, exact in DICOM's 16-character DS."""
    intercept = float(f"{(low + high) / 2:.8g}")
    reach = max(high - intercept, intercept - low)
    # A little wider than needed, so that rounding to four digits cannot cut the ends off.
    slope = float(f"{reach / 32767 * 1.001:.4g}") if reach > 0 else 1.0
    return Rescale(slope or 1.0, intercept, kind, stated=True)


def store_colour(
    frames: Float32[np.ndarray, "frames y x c"], ds: Dataset
) -> tuple[Layout, Integer[np.ndarray, "frames y x c"]]:
    """RGB integers, rounded; colour has no rescale, so values beyond white or black are cut."""
    if not is_colour(ds):
        raise ValueError("store_colour() is for colour images")
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return _cut(frames, 16 if frames.max(initial=0) > 255 else 8)
    return _cut(frames, int(ds.BitsAllocated))


def store_grey_bytes(
    frames: Float32[np.ndarray, "frames y x"],
) -> tuple[Layout, Integer[np.ndarray, "frames y x"]]:
    """Bytes of 8-bit pictures for display (ultrasound, captures), cut at black and white."""
    return _cut(frames, 8)


def _cut(
    frames: Float32[np.ndarray, "frames ..."], bits: int
) -> tuple[Layout, Integer[np.ndarray, "frames ..."]]:
    layout = Layout(bits, bits, signed=False)
    raw = np.rint(frames.astype(np.float64))
    outside = int(np.count_nonzero((raw < 0) | (raw > layout.limits[1])))
    if outside:
        LOG.info("%d of %d values beyond black or white were cut", outside, raw.size)
    return layout, np.clip(raw, *layout.limits).astype(layout.dtype)
