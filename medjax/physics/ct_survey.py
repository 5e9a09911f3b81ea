"""Rays all over a slice at a few angles, once: `ray_sums` of its patches by interpolation.

NumPy, because it runs in the data loader, which cuts many patches from a slice. Rays run as
Joseph's do, evenly spaced where they cross the slice's middle row (flat ones: its middle column)
and not on a detector, so that each row is interpolated at one fraction for all rays of an angle.

Two things make it rougher than `ray_sums`: the slice is averaged over 2 x 2 pixels first, and rays
are interpolated between those that ran. In patches of 170 pixels of a patient's slice of 512 x 512
the standard deviation of the noise from a direction is within 0.1 % in the median, and in 99 of 100
within 1.5 % (`tests/physics/test_ct_survey.py`). A survey costs as much as `ray_sums` of some 20
patches.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from medjax.physics.ct_dose import AIR_HU, MU_WATER, PADDING_HU
from medjax.physics.ct_ray_sums import ACROSS, Rays, ray_angles

# Pixels along each side of a square that is averaged; also those between rays.
_POOL = 2


def survey_slice(hu_slice: np.ndarray, count: int) -> Float32[np.ndarray, "angles crossings"]:
    """What `surveyed_rays` needs of a slice: sums of HU above air, by where rays cross the middle.

    The slice [rows, columns] may hold integers and padding, as in `ray_sums`; rays run at
    `ray_angles(count)`.
    """
    tissue = _pooled_tissue(hu_slice)
    reach = _reach(tissue.shape)
    sums = np.zeros((count, max(tissue.shape) + 2 * reach), np.float32)
    rays = _directions(count)
    for chosen, image in ((rays.steep, tissue), (~rays.steep, np.ascontiguousarray(tissue.T))):
        width = image.shape[1] + 2 * reach
        sums[chosen, :width] = _sheared_sums(image, rays.slope[chosen], reach)
    return sums


def surveyed_rays(
    survey: Float32[np.ndarray, "angles crossings"],
    shape: tuple[int, int],
    pixel_mm: float,
    centre_rc: tuple[float, float],
    width: float,
) -> Rays:
    """`ray_sums(..., width=width)`, [angles, 3], of the surveyed slice, whose shape this is."""
    rays = _directions(len(survey))
    aside = ACROSS * (width / 2)
    sides = [-(-n // _POOL) for n in shape]
    row, column = ((x - (_POOL - 1) / 2) / _POOL for x in centre_rc)
    to_row, to_column = ((n - 1) / 2 - x for n, x in zip(sides, (row, column), strict=True))
    middle = np.where(rays.steep, column + rays.slope * to_row, row + rays.slope * to_column)
    forward = rays.forward[:, None]
    sums = _between(survey, middle[:, None] + aside / _POOL / forward + _reach(sides))
    row, column = (x - (n - 1) / 2 for x, n in zip(centre_rc, shape, strict=True))
    offsets = (column * rays.cos + row * rays.sin)[:, None] + aside
    return Rays(
        (sums * (_POOL * MU_WATER * pixel_mm / 1000) / np.abs(forward)).astype(np.float32),
        (offsets * pixel_mm).astype(np.float32),
    )


class _Directions(NamedTuple):
    """The angles' rays: steep ones move `slope` columns a row, others so many rows a column."""

    cos: Float[np.ndarray, " angles"]
    sin: Float[np.ndarray, " angles"]
    steep: Bool[np.ndarray, " angles"]
    forward: Float[np.ndarray, " angles"]
    slope: Float[np.ndarray, " angles"]


@functools.lru_cache
def _directions(count: int) -> _Directions:
    cos, sin = np.cos(ray_angles(count)), np.sin(ray_angles(count))
    steep = np.abs(cos) >= np.abs(sin)
    forward, aside = np.where(steep, [cos, sin], [sin, cos])
    return _Directions(cos, sin, steep, forward, -aside / forward)


def _reach(sides: tuple[int, ...] | list[int]) -> int:
    """Pixels before the first at which no ray that crosses the middle there meets the slice."""
    return math.ceil((max(sides) - 1) / 2) + 1


def _pooled_tissue(hu_slice: np.ndarray) -> Float32[np.ndarray, "rows columns"]:
    """HU above air, averaged; air beyond the last row and column."""
    tissue = (hu_slice - np.float32(AIR_HU)) * (hu_slice >= PADDING_HU)
    tissue = np.pad(tissue.astype(np.float32), [(0, -n % _POOL) for n in tissue.shape])
    squares = [tissue[i::_POOL, j::_POOL] for i, j in np.ndindex(_POOL, _POOL)]
    return np.add.reduce(squares) / np.float32(len(squares))


def _sheared_sums(
    image: Float32[np.ndarray, "lines across"], slopes: Float[np.ndarray, " some"], reach: int
) -> Float32[np.ndarray, "some crossings"]:
    """Sums of the lines, each moved by a slope a line from the middle one; from -reach on."""
    lines, across = image.shape
    shifts = slopes[:, None] * (np.arange(lines) - (lines - 1) / 2)
    wholes = np.floor(shifts).astype(int)
    laters = (shifts - wholes).astype(np.float32)
    before, step = np.pad(image, ((0, 0), (1, 0))), np.diff(image, axis=1, prepend=0, append=0)
    wide = np.zeros((lines, across + 1 + 4 * reach), np.float32)
    inner = wide[:, 2 * reach : 2 * reach + across + 1]
    starts = np.arange(lines) * wide.shape[1] + 2 * reach + 1
    sums = np.zeros((len(slopes), across + 2 * reach), np.float32)
    for row, slope, whole, later in zip(sums, slopes, wholes, laters, strict=True):
        # Between two pixels, for all rays of a line at once.
        np.multiply(step, later[:, None], out=inner)
        inner += before
        span = math.ceil(abs(slope) * (lines - 1) / 2) + 1
        places = (starts + whole - span)[:, None] + np.arange(across + 2 * span)
        row[reach - span : reach + across + span] = wide.reshape(-1).take(places).sum(0)
    return sums


def _between(
    rows: Float32[np.ndarray, "angles crossings"], places: Float[np.ndarray, "angles rays"]
) -> Float[np.ndarray, "angles rays"]:
    """Each row at fractions of its indices; the ends, which are 0, go on."""
    last = rows.shape[1] - 1
    places = np.clip(places, 0, last)
    first = np.minimum(places.astype(int), last - 1)
    later = places - first
    flat = first + np.arange(len(rows))[:, None] * rows.shape[1]
    before, after = (rows.reshape(-1).take(flat + i) for i in (0, 1))
    return before * (1 - later) + after * later
