"""Raw helical or axial CT projections to sinograms that `ct_fbp.fbp` takes.

Steps, and what each approximates:

1. Views are sorted by the position of the flying focal spot (`ct_fans`); the true focal spot and
   the fixed detector give every ray's angle and distance from the axis. Exact.
2. Every view is rebinned to the plane z (`ct_slice`): single-slice rebinning, exact but for the
   change of the object along z over the tilt of the ray.
3. Fans are looked up at the rays of the target geometry (`ct_gather`), linearly between columns,
   then between views of one focal spot position. This costs some resolution; that positions are
   interlaced is not exploited beyond averaging them.
4. Rays measured more than once, by several turns, focal spot positions or from the other side, are
   averaged, or interpolated to the plane.

What that comes to, on an analytic phantom seen by a 64-row scanner with flying focal spot along z
(five balls of +800 HU, 40 to 130 mm off the axis in water, no noise, every other view, "ssr"):
means of water and balls within 1 HU; single pixels in water off by up to 22 HU at pitch 0.6 and
49 HU at pitch 1, where the exact sinogram leaves 12; edges 0.1 mm wider than of that sinogram. A
like scan at pitch 1 is the slow test of tests/physics/test_ct_rebin.py.

NumPy, because it runs where the files are read.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Array, Bool, Float32, Float64

from medjax.errors import UserError
from medjax.io.projections import Projections
from medjax.physics.ct_fans import Fan, fans, field_mm
from medjax.physics.ct_gather import Rays, columns, rays_of, visits
from medjax.physics.ct_geometry import FanBeam, Geometry, ParallelBeam
from medjax.physics.ct_slice import nearest_rows, single_slice

Method = Literal["ssr", "360li", "180li"]

# Millimetres from the plane that count as in it.
_SAME_PLACE = 1e-3
# Less weight than this is a hole in the coverage, not a faint ray.
_LEAST_WEIGHT = 1e-3


class Sinogram(NamedTuple):
    """Line integrals in a plane, and which of its rays were measured."""

    values: Float64[np.ndarray, "view detector"]
    seen: Bool[np.ndarray, "view detector"]


def rebin(
    projections: Projections,
    z_mm: float | Sequence[float],
    geometry: Geometry,
    *,
    method: Method = "ssr",
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
      method: "ssr": single-slice rebinning, the weighted mean of all views that cross the plane.
        "360li", "180li": for few rows or a fast table, linear interpolation in z between the
        nearest rays below and above, of neighbouring turns or also from the opposite side
        (Kalender et al., Radiology 176 (1990) 181; Crawford and King, Med. Phys. 17 (1990) 967).
        Rays that cross the plane itself are taken as in "ssr", but all with one weight.
      thickness_mm: the slice is the mean over this thickness (0: as thin as the rows are).
      height: part of the detector's height that "ssr" uses. Less means narrower cones, but more
        noise, and streaks where too little is left to blend the turns.

    Raises:
      UserError: views of a plane are missing: it lies at the scan's end, or the table moved too
        fast.
    """
    if not 0 < height <= 1:
        raise ValueError(f"height={height} is not in (0, 1]")
    if method not in get_args(Method):
        raise ValueError(f"unknown method {method!r}; there are {', '.join(get_args(Method))}")
    planes = np.atleast_1d(np.asarray(z_mm, np.float64))
    rays, groups = rays_of(geometry), fans(projections)
    result = np.zeros((len(planes), *rays.angle.shape, 1), np.float32)
    for slice_, z in zip(result, planes, strict=True):
        thin = _planes(projections, float(z), thickness_mm)
        for plane in thin:
            slice_[..., 0] += _plane(projections, groups, rays, plane, method, height) / len(thin)
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
    steps = [group.step for group in groups if group.step]
    if not steps:
        raise UserError(f"{projections.source}: a single view makes no sinogram; give the series")
    views = round(2 * np.pi / min(steps))
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


def _planes(projections: Projections, z_mm: float, thickness_mm: float) -> list[float]:
    """Planes as close as the rows are at the isocentre, spread evenly over the thickness."""
    detector = projections.detector
    row = detector.row_mm * float(np.median(projections.radius_mm)) / detector.radius_mm
    count = max(1, round(thickness_mm / row))
    return [z_mm + thickness_mm * ((k + 0.5) / count - 0.5) for k in range(count)]


def _plane(
    projections: Projections,
    groups: Sequence[Fan],
    rays: Rays,
    z_mm: float,
    method: Method,
    height: float,
) -> Float32[np.ndarray, "view detector"]:
    if method == "ssr":
        sinogram, seen = weighted_mean(projections, groups, rays, z_mm, height)
    else:
        sinogram, seen = _interpolated(
            projections, groups, rays, z_mm, opposite_too=method == "180li"
        )
    inside = np.abs(rays.offset_mm) <= field_mm(projections)
    if not np.all(seen[:, inside]):
        part = 1 - float(np.mean(seen[:, inside]))
        raise UserError(
            f"{projections.source}: {100 * part:.1f} % of the rays in the plane z = {z_mm:.1f} mm "
            f"were not measured (the focal spot went from {projections.z_mm.min():.1f} to "
            f"{projections.z_mm.max():.1f} mm); choose a plane inside the scan"
        )
    return np.where(seen, sinogram, 0).astype(np.float32)


def weighted_mean(
    projections: Projections,
    groups: Sequence[Fan],
    rays: Rays,
    z_mm: float,
    height: float = 1.0,
    sides: Sequence[bool] = (False, True),
) -> Sinogram:
    """Every measurement of a ray averaged with the weight of its detector row.

    `sides`: whether from the opposite side. Zero where nothing was measured.
    """
    total, weight = np.zeros(rays.angle.shape), np.zeros(rays.angle.shape)
    for fan in groups:
        views = single_slice(projections, fan, z_mm, height)
        for opposite in sides:
            at = columns(fan, rays, opposite=opposite)
            readings, weights = at.take(views.weighted), at.take(views.weight)
            for visit in visits(fan, views.angle, rays, opposite=opposite):
                total += visit.seen * visit.take(readings)
                weight += visit.seen * visit.take(weights)
    seen = weight > _LEAST_WEIGHT
    return Sinogram(total / np.where(seen, weight, 1), seen)


def _interpolated(
    projections: Projections,
    groups: Sequence[Fan],
    rays: Rays,
    z_mm: float,
    *,
    opposite_too: bool,
) -> Sinogram:
    """The nearest measurements below and above the plane, interpolated linearly in z.

    A ray that a view measured in the plane itself is taken as it is, or their mean.
    """
    shape = rays.angle.shape
    below, above = np.full(shape, -np.inf), np.full(shape, np.inf)
    lower, upper, hits, met = np.zeros((4, *shape))
    for fan in groups:
        views = nearest_rows(projections, fan, z_mm)
        for opposite in (False, True) if opposite_too else (False,):
            at = columns(fan, rays, opposite=opposite)
            readings, distances = at.take(views.reading), at.take(views.distance_mm)
            for visit in visits(fan, views.angle, rays, opposite=opposite):
                seen = visit.seen & at.measured
                reading, distance = visit.take(readings), visit.take(distances)
                hit = seen & (np.abs(distance) < _SAME_PLACE)
                hits += np.where(hit, reading, 0)
                met += hit
                closer = seen & (distance <= 0) & (distance > below)
                lower, below = np.where(closer, reading, lower), np.where(closer, distance, below)
                closer = seen & (distance >= 0) & (distance < above)
                upper, above = np.where(closer, reading, upper), np.where(closer, distance, above)
    between = np.isfinite(below) & np.isfinite(above)
    gap = np.where(between & (met == 0), above - below, 1)
    part = np.where(between & (met == 0), -below, 0) / gap
    mean = hits / np.maximum(met, 1)
    return Sinogram(np.where(met > 0, mean, lower + part * (upper - lower)), between | (met > 0))
