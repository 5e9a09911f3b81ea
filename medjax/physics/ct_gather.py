"""Fan-beam views of a plane looked up at the rays of another geometry.

A parallel-beam ray at angle θ and offset s is seen by a view from its near side, and half a turn
on, less twice the fan angle, from the opposite one; a helical scan sees both again every turn.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from medjax.physics.ct_fans import Fan
from medjax.physics.ct_geometry import FanBeam, Geometry

_TURN = 2 * np.pi
# Views farther apart than this, in usual steps, have a hole between them.
_LARGEST_STEP = 2.5


class Rays(NamedTuple):
    """Rays of the target geometry: parallel-beam angle, and signed distance from the axis."""

    angle: Float64[np.ndarray, "view detector"]
    offset_mm: Float64[np.ndarray, "detector"]


class Columns(NamedTuple):
    """Where the rays fall on a fan's detector: the column below, and how far to the next."""

    low: Int64[np.ndarray, "detector"]
    later: Float64[np.ndarray, "detector"]
    measured: Bool[np.ndarray, "detector"]

    def take(self, values: np.ndarray) -> np.ndarray:
        """[view, column] to [view, detector], linearly; 0 beside the detector."""
        low, high = values[:, self.low], values[:, self.low + 1]
        return (low * (1 - self.later) + high * self.later) * self.measured


class Visit(NamedTuple):
    """One passage of the source over every ray: the view before, and how far to the next.

    `seen` is False where there is no view, or a hole between two.
    """

    before: Int64[np.ndarray, "view detector"]
    later: Float64[np.ndarray, "view detector"]
    seen: Bool[np.ndarray, "view detector"]

    def take(self, values: np.ndarray) -> np.ndarray:
        """[view of the fan, detector] to [view, detector], linearly between views."""
        every = np.arange(values.shape[1])
        early, late = values[self.before, every], values[self.before + 1, every]
        return early + self.later * (late - early)


def rays_of(geometry: Geometry) -> Rays:
    """The rays in the order of the geometry's sinogram."""
    offset = geometry.ray_offsets_mm()
    lean = np.zeros_like(offset)
    if isinstance(geometry, FanBeam):
        lean = np.arcsin(offset / geometry.source_mm)
    return Rays(geometry.in_pixels().angles()[:, None] - lean, offset)


def columns(fan: Fan, rays: Rays, *, opposite: bool) -> Columns:
    """Where the rays meet the detector, seen from the near or the opposite side."""
    offset = -rays.offset_mm if opposite else rays.offset_mm
    count = len(fan.offset_mm)
    at = np.interp(offset, fan.offset_mm, np.arange(count))
    low = np.minimum(at.astype(np.int64), count - 2)
    return Columns(low, at - low, (offset >= fan.offset_mm[0]) & (offset <= fan.offset_mm[-1]))


def visits(
    fan: Fan, angle: Float64[np.ndarray, "view"], rays: Rays, *, opposite: bool
) -> Iterator[Visit]:
    """Every turn in which views at these ascending angles, some of the fan's, see the rays."""
    if len(angle) < 2:
        return
    offset = -rays.offset_mm if opposite else rays.offset_mm
    needed = rays.angle + np.interp(offset, fan.offset_mm, fan.lean) + np.pi * opposite
    first = int(np.ceil((angle[0] - needed.max()) / _TURN))
    last = int(np.floor((angle[-1] - needed.min()) / _TURN))
    for turn in range(first, last + 1):
        wanted = needed + turn * _TURN
        before = np.clip(np.searchsorted(angle, wanted, side="right") - 1, 0, len(angle) - 2)
        step = angle[before + 1] - angle[before]
        later = (wanted - angle[before]) / np.maximum(step, 1e-12)
        seen = (later >= 0) & (later <= 1) & (step <= _LARGEST_STEP * fan.step)
        if np.any(seen):
            yield Visit(before, np.clip(later, 0, 1), seen)
