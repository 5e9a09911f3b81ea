"""Raw helical or axial CT projections to sinograms that `ct_fbp.fbp` takes.

Steps, and what each approximates:

1. Views are sorted by the position of the flying focal spot (`ct_fans`); the true focal spot and
   the fixed detector give every ray's angle and distance from the axis. Exact.
2. Every view is rebinned to the plane z (`ct_slice`): single-slice rebinning, exact but for the
   change of the object along z over the tilt of the ray.
3. Fans are rebinned to the rays of the target geometry, linearly between columns, then between
   views of one focal spot position. This costs some resolution; that positions are interlaced is
   not exploited beyond averaging them.
4. Rays measured more than once, by several turns, focal spot positions or from the other side, are
   averaged with the weights of step 2.

Detector columns and integration over the slice's thickness are left as measured. NumPy, because it
runs where the files are read.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64

from medjax.errors import UserError
from medjax.io.projections import Projections
from medjax.physics.ct_fans import Fan, fans, field_mm
from medjax.physics.ct_geometry import FanBeam, Geometry, ParallelBeam
from medjax.physics.ct_slice import FanViews, single_slice

_TURN = 2 * np.pi
# Views farther apart than this, in usual steps, have a hole between them.
_LARGEST_STEP = 2.5
# Less weight than this is a hole in the coverage, not a faint ray.
_LEAST_WEIGHT = 1e-3


class _Rays(NamedTuple):
    """Rays of the target geometry: parallel-beam angle, and signed distance from the axis."""

    angle: Float64[np.ndarray, "view detector"]
    offset_mm: Float64[np.ndarray, "detector"]


def rebin(
    projections: Projections,
    z_mm: float | Sequence[float],
    geometry: Geometry,
    *,
    thickness_mm: float = 0.0,
    height: float = 1.0,
) -> Float32[np.ndarray, "slice view detector 1"]:
    """Sinograms of axial planes, for `fbp(geometry, rebin(...))`; see the module for the steps.

    In the image, columns grow with the manual's x and rows against its y: the plane as seen from
    the table, upright. Rays that no view measured, outside the scan's field, are 0.

    Args:
      projections: the scan, or the part of it around the planes.
      z_mm: one plane or several, in the files' coordinate.
      geometry: what to rebin to, e.g. from `geometry_for`.
      thickness_mm: the slice is the mean over this thickness (0: as thin as the rows are).
      height: part of the detector's height to use. Less means narrower cones and more noise.

    Raises:
      UserError: views of a plane are missing: it lies at the scan's end, or the table moved too
        fast.
    """
    if not 0 < height <= 1:
        raise ValueError(f"height={height} is not in (0, 1]")
    planes = [z_mm] if isinstance(z_mm, int | float) else list(z_mm)
    rays, groups = _rays(geometry), fans(projections)
    result = np.zeros((len(planes), *rays.angle.shape, 1), np.float32)
    for slice_, z in zip(result, planes, strict=True):
        thin = _planes(projections, float(z), thickness_mm)
        for plane in thin:
            slice_[..., 0] += _sinogram(projections, groups, rays, plane, height) / len(thin)
    return result


def geometry_for(
    projections: Projections,
    image_size: int,
    pixel_mm: float,
    kind: Literal["parallel", "fan"] = "parallel",
) -> Geometry:
    """A target about as fine as the scan: its spacing at the isocentre, its field, its views.

    A parallel beam gets the views of a whole turn over half of one, because rebinned views of a
    coarse sinogram streak at the edge of the field.
    """
    detector = projections.detector
    radius = float(np.median(projections.radius_mm))
    spacing = detector.column_mm * radius / detector.radius_mm
    groups = fans(projections)
    steps = [np.median(np.diff(group.angle)) for group in groups if len(group.angle) > 1]
    if not steps:
        raise UserError(f"{projections.source}: a single view makes no sinogram; give the series")
    views = round(_TURN / float(min(steps)))
    reach = max(abs(group.offset_mm[end]) for group in groups for end in (0, -1))
    if kind == "parallel":
        return ParallelBeam(image_size, pixel_mm, views, 2 * int(reach / spacing) + 2, spacing)
    edge = radius * np.tan(np.arcsin(reach / radius))
    detectors = 2 * int(edge / spacing) + 2
    return FanBeam(image_size, pixel_mm, views, detectors, spacing, radius)


def attenuation_to_hu(mu: Array, mu_water: float) -> Array:
    """Hounsfield units of attenuation in 1/mm, by the scan's own `Projections.mu_water`.

    (`ct_dose.mu_to_hu` takes medjax's standard beam.)
    """
    return (mu / mu_water - 1) * 1000


def _rays(geometry: Geometry) -> _Rays:
    pixels = geometry.in_pixels()
    offset = geometry.ray_offsets_mm()
    lean = np.zeros_like(offset)
    if isinstance(geometry, FanBeam):
        lean = np.arcsin(offset / geometry.source_mm)
    return _Rays(pixels.angles()[:, None] - lean, offset)


def _sinogram(
    projections: Projections, groups: Sequence[Fan], rays: _Rays, z_mm: float, height: float
) -> Float32[np.ndarray, "view detector"]:
    total = np.zeros(rays.angle.shape, np.float32)
    weight = np.zeros(rays.angle.shape, np.float32)
    for fan in groups:
        views = single_slice(projections, fan, z_mm, height)
        for opposite in (False, True):
            _add(total, weight, fan, views, rays, opposite=opposite)
    seen = np.asarray(weight > _LEAST_WEIGHT)
    inside = np.abs(rays.offset_mm) <= field_mm(projections)
    if not np.all(seen[:, inside]):
        part = 1 - float(np.mean(seen[:, inside]))
        raise UserError(
            f"{projections.source}: {100 * part:.1f} % of the rays in the plane z = {z_mm:.1f} mm "
            f"were not measured (the focal spot went from {projections.z_mm.min():.1f} to "
            f"{projections.z_mm.max():.1f} mm); choose a plane inside the scan"
        )
    return np.where(seen, total / np.where(seen, weight, 1), 0).astype(np.float32)


def _planes(projections: Projections, z_mm: float, thickness_mm: float) -> list[float]:
    """Planes as close as the rows are at the isocentre, spread evenly over the thickness."""
    detector = projections.detector
    row = detector.row_mm * float(np.median(projections.radius_mm)) / detector.radius_mm
    count = max(1, round(thickness_mm / row))
    return [z_mm + thickness_mm * ((k + 0.5) / count - 0.5) for k in range(count)]


def _add(
    total: Float32[np.ndarray, "view detector"],
    weight: Float32[np.ndarray, "view detector"],
    fan: Fan,
    views: FanViews,
    rays: _Rays,
    *,
    opposite: bool,
) -> None:
    """Adds what the fan's views say of every ray, from its near side or from the opposite one."""
    if len(views.angle) < 2:
        return
    offset = -rays.offset_mm if opposite else rays.offset_mm
    column = np.interp(offset, fan.offset_mm, np.arange(len(fan.offset_mm)))
    measured = (offset >= fan.offset_mm[0]) & (offset <= fan.offset_mm[-1])
    needed = rays.angle + np.interp(offset, fan.offset_mm, fan.lean) + np.pi * opposite
    weighted = _between_columns(views.weighted, column, measured)
    weights = _between_columns(views.weight, column, measured)
    usual = float(np.median(np.diff(fan.angle)))
    first = int(np.ceil((views.angle[0] - needed.max()) / _TURN))
    last = int(np.floor((views.angle[-1] - needed.min()) / _TURN))
    every = np.arange(len(offset))
    for turn in range(first, last + 1):
        wanted = needed + turn * _TURN
        at = np.searchsorted(views.angle, wanted, side="right") - 1
        at = np.clip(at, 0, len(views.angle) - 2)
        step = views.angle[at + 1] - views.angle[at]
        later = (wanted - views.angle[at]) / np.maximum(step, 1e-12)
        between = (later >= 0) & (later <= 1) & (step <= _LARGEST_STEP * usual)
        early, late = between * (1 - later), between * later
        total += early * weighted[at, every] + late * weighted[at + 1, every]
        weight += early * weights[at, every] + late * weights[at + 1, every]


def _between_columns(
    values: Float32[np.ndarray, "view column"],
    column: Float64[np.ndarray, "detector"],
    measured: Bool[np.ndarray, "detector"],
) -> Float[np.ndarray, "view detector"]:
    low = np.minimum(column.astype(np.int64), values.shape[1] - 2)
    later = column - low
    return (values[:, low] * (1 - later) + values[:, low + 1] * later) * measured
