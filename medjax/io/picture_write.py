"""A Scan as PNG, JPEG or TIFF, refused where the format would silently lose values."""

import logging
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Float32, Num, UInt8
from PIL import Image

from medjax.errors import UserError
from medjax.io.common import atomic, extension, quiet, require_finite
from medjax.io.picture import FORMAT, TIFF
from medjax.scan import Scan

LOG = logging.getLogger(__name__)
JPEG_QUALITY = 95


def write_picture(
    restored: Scan, path: Path, *, description: str, window: tuple[float, float] | None = None
) -> tuple[Path, ...]:
    """Writes .png, .jpg (2-D) or .tif (also volumes and series, one page a slice).

    A scan read from a picture keeps its depth: values are rounded, and cut at black and white.
    Other scans are written as the smallest integers that hold every value exactly, or as float
    TIFF. A window makes an 8-bit picture for looking at: level - width/2 is black.

    Args:
      restored: the scan.
      path: where to, the extension names the format.
      description: goes into the ImageDescription of a TIFF file.
      window: (level, width) in the scan's unit.

    Raises:
      UserError: values that need a window or another format, a volume as PNG, non-finite values.
    """
    require_finite(restored.array, path)
    kind = extension(path)
    if kind not in TIFF and restored.axes not in ("yx", "yxc"):
        raise UserError(
            f"{path}: one picture cannot hold axes {restored.axes!r}; write .tif or .nii.gz instead"
        )
    data = _windowed(restored.array, window) if window else _exact(restored, path)
    with atomic(path) as temporary, quiet():
        if kind in TIFF:
            _write_tiff(data, restored.axes, temporary, description)
        elif kind == ".png":
            temporary.write_bytes(imagecodecs.png_encode(_with_alpha(data, restored)))
        elif data.dtype != np.uint8:
            raise UserError(f"{path}: JPEG holds 8 bits only; write .png or .tif instead")
        else:
            Image.fromarray(data).save(temporary, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return (path,)


def _windowed(
    values: Float32[np.ndarray, "..."], window: tuple[float, float]
) -> UInt8[np.ndarray, "..."]:
    level, width = window
    if width <= 0:
        raise ValueError(f"window width {width} must be positive")
    return np.rint(255 * np.clip((values - (level - width / 2)) / width, 0, 1)).astype(np.uint8)


def _exact(restored: Scan, path: Path) -> Num[np.ndarray, "..."]:
    values = restored.array
    if restored.header.get("format") == FORMAT:
        dtype = np.dtype(restored.header["dtype"])
        if (dtype.kind in "iu" and extension(path) in TIFF) or dtype in (np.uint8, np.uint16):
            return _cut(values, dtype)
    whole = np.array_equal(values, np.rint(values))
    for dtype in map(np.dtype, ("uint8", "uint16", "int16")):
        limits = np.iinfo(dtype)
        inside = limits.min <= values.min(initial=0) and values.max(initial=0) <= limits.max
        if whole and inside and (dtype.kind == "u" or extension(path) in TIFF):
            return values.astype(dtype)
    if extension(path) in TIFF:
        return values
    raise UserError(
        f"{path}: values from {values.min():g} to {values.max():g} {restored.unit} do not fit a "
        "picture; state a window (level, width), or write .tif or .nii.gz instead"
    )


def _cut(values: Float32[np.ndarray, "..."], dtype: np.dtype) -> Num[np.ndarray, "..."]:
    limits = np.iinfo(dtype)
    raw = np.rint(values.astype(np.float64))
    outside = int(np.count_nonzero((raw < limits.min) | (raw > limits.max)))
    if outside:
        LOG.info("%d of %d values beyond black or white were cut", outside, raw.size)
    return np.clip(raw, limits.min, limits.max).astype(dtype)


def _with_alpha(data: Num[np.ndarray, "y x ..."], restored: Scan) -> Num[np.ndarray, "y x ..."]:
    alpha = restored.header.get("alpha")
    if alpha is None or alpha.dtype != data.dtype or alpha.shape != data.shape[:2]:
        return data
    return np.concatenate([data.reshape(*alpha.shape, -1), alpha[..., None]], axis=-1)


def _write_tiff(data: Num[np.ndarray, "..."], axes: str, path: Path, description: str) -> None:
    colour = axes.endswith("c")
    tifffile.imwrite(
        path,
        data,
        photometric="rgb" if colour else "minisblack",
        compression="zlib",
        metadata={"axes": axes.upper().replace("C", "S"), "description": f"medjax {description}"},
        software="medjax",
    )
