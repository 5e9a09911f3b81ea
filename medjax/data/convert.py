"""From a scan to what a dataset holds: float32 images of two to four axes, all values real."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from medjax.errors import UserError
from medjax.scan import Scan

AIR_HU = -1024.0
# ITU-R BT.601, what JPEG and DICOM's YBR_FULL use.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def images(
    scan: Scan, dims: int
) -> tuple[Float32[np.ndarray, "count *space"], Float32[np.ndarray, " dims"]]:
    """The slices (`dims=2`), volumes (3) or series (4) of a scan and their spacing.

    Padding and values that are not numbers are filled as in `fill_invalid`, colour becomes
    luminance, and below `dims=4` every frame of a series counts by itself. Spacing is in mm, of
    the time axis in seconds; NaN where unknown.

    Raises:
      UserError: no valid value, `dims=3` and the scan is no volume, or `dims=4` and no series.
    """
    if dims == 3 and scan.space != "zyx":
        raise UserError(f"{scan.source}: a 2-D image among volumes; left out, use --dims 2 for it")
    if dims == 4 and scan.axes.rstrip("c") != "tzyx":
        raise UserError(f"{scan.source}: no series of volumes; left out, use --dims 2 or 3 for it")
    array = fill_invalid(scan)
    if dims == 4:
        space = scan.spacing or (np.nan,) * 3
        step = np.nan if scan.time_step is None else scan.time_step
        return array[None], np.asarray((step, *space), np.float32)
    stack = array.reshape(-1, *array.shape[array.ndim - dims :])
    if scan.spacing is None:
        return stack, np.full(dims, np.nan, np.float32)
    return stack, np.asarray(scan.spacing[-dims:], np.float32)


def fill_invalid(scan: Scan) -> Float32[np.ndarray, "..."]:
    """A scan's values, without its colour axis, with padding replaced.

    CT: padding, and all below air, is -1024 HU. Scanners mark the corners outside their field of
    view with values such as -2000; a projector would take them for matter, and a network would
    learn to draw them. Other scans: the smallest valid value.

    Raises:
      UserError: no value is valid.
    """
    array = scan.array @ LUMINANCE if scan.axes.endswith("c") else scan.array
    valid = np.isfinite(array)
    if scan.valid is not None:
        valid &= scan.valid if scan.valid.shape == array.shape else scan.valid.all(axis=-1)
    if not valid.any():
        raise UserError(f"{scan.source}: no valid value in it; left out")
    floor = AIR_HU if scan.unit == "HU" else float(array.min(initial=np.inf, where=valid))
    if not valid.all():
        array = np.where(valid, array, np.float32(floor))
    if scan.unit == "HU":
        array = np.maximum(array, np.float32(AIR_HU))
    return np.ascontiguousarray(array, np.float32)


def shrunk(
    image: Float[np.ndarray, "*space"], factors: Sequence[int]
) -> Float32[np.ndarray, "*fewer"]:
    """Means over blocks of `factors` samples; what is left over at the far ends goes."""
    counts = [n // f for n, f in zip(image.shape, factors, strict=True)]
    whole = image[tuple(slice(c * f) for c, f in zip(counts, factors, strict=True))]
    split = [n for pair in zip(counts, factors, strict=True) for n in pair]
    blocks = tuple(range(1, 2 * image.ndim, 2))
    return whole.reshape(split).mean(blocks, dtype=np.float64).astype(np.float32)
