"""Single-slice rebinning: cone-beam views to fan-beam views of one plane.

Noo, Defrise and Clackdoyle, "Single-slice rebinning method for helical cone-beam CT", Phys. Med.
Biol. 44 (1999) 561: a ray in the plane z is estimated by the oblique ray of the same column that
crosses the plane where it passes the axis of rotation, scaled by the cosine of its tilt. Exact
where the object does not change along z over the tilt; the error grows with the cone angle and
with the distance from the axis.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from medjax.io.projections import Detector, Projections
from medjax.physics.ct_fans import Fan

# Rows this far out (of half the detector's height) start to fade, so that no turn ends abruptly.
_FADE_FROM = 0.7


class FanViews(NamedTuple):
    """Fan-beam views of one plane: readings times weight, and the weight; angles as in `Fan`."""

    angle: Float64[np.ndarray, "view"]
    weighted: Float32[np.ndarray, "view column"]
    weight: Float32[np.ndarray, "view column"]


def single_slice(projections: Projections, fan: Fan, z_mm: float, height: float) -> FanViews:
    """The views of `fan` that cross the plane, rebinned to it.

    `height` is the part of the detector's height to use, in (0, 1]. Between rows it interpolates
    linearly; weights fall to 0 towards the edges, where the cone is widest.
    """
    near = _near(projections, fan, z_mm)
    views = fan.views[near]
    climb = (z_mm - projections.z_mm[views])[:, None] / fan.foot_mm
    above = (projections.z_mm - projections.centre_z_mm)[views][:, None] + climb * fan.length_mm
    row = row_of(projections.detector, above)
    # Nothing lies beyond the middle of the last row to interpolate with.
    last = projections.detector.rows - 1
    weight = _fade((row - last / 2) / (max(last, 1) / 2 * height))
    tilt = 1 / np.sqrt(1 + climb**2)
    reading = _between_rows(projections, views, row) * tilt
    return FanViews(
        fan.angle[near], (reading * weight).astype(np.float32), weight.astype(np.float32)
    )


class NearestRows(NamedTuple):
    """What every ray's row next to a plane reads, and how far above the plane it crosses it."""

    angle: Float64[np.ndarray, "view"]
    reading: Float64[np.ndarray, "view column"]
    distance_mm: Float64[np.ndarray, "view column"]


def nearest_rows(projections: Projections, fan: Fan, z_mm: float) -> NearestRows:
    """Views of `fan` within a turn of the plane: the ray of each column that passes next to it.

    Distances are taken where the ray passes the axis; they are 0 where two rows enclose the plane,
    which are interpolated. Tilted rays are scaled as in `single_slice`.
    """
    near = _near(projections, fan, z_mm, spare_mm=_travel(fan, projections))
    views = fan.views[near]
    shift = (projections.z_mm - projections.centre_z_mm)[views][:, None]
    away = (z_mm - projections.z_mm[views])[:, None]
    row = row_of(projections.detector, shift + away * fan.length_mm / fan.foot_mm)
    row = np.clip(row, 0, projections.detector.rows - 1)
    climb = (height_of(projections.detector, row) - shift) / fan.length_mm
    tilt = 1 / np.sqrt(1 + climb**2)
    reading = _between_rows(projections, views, row) * tilt
    return NearestRows(fan.angle[near], reading, climb * fan.foot_mm - away)


def _travel(fan: Fan, projections: Projections) -> float:
    """How far the table moves in a turn, in mm."""
    turned = float(np.ptp(fan.angle))
    return 2 * np.pi * float(np.ptp(projections.z_mm[fan.views])) / turned if turned else 0.0


def row_of(
    detector: Detector, above_mm: Float64[np.ndarray, "view column"]
) -> Float64[np.ndarray, "view column"]:
    """The row, in fractions, that a ray meets `above_mm` over the focal centre's plane.

    A spherical detector's rows are evenly spaced in angle; taken from the focal centre, which is
    exact but for the focal spot's shift.
    """
    if detector.shape == "SPHERICAL":
        above_mm = detector.radius_mm * np.arctan(above_mm / detector.radius_mm)
    return detector.central_row - above_mm / detector.row_mm


def height_of(
    detector: Detector, row: Float64[np.ndarray, "view column"]
) -> Float64[np.ndarray, "view column"]:
    """The inverse of `row_of`, in mm."""
    above_mm = (detector.central_row - row) * detector.row_mm
    if detector.shape == "SPHERICAL":
        return detector.radius_mm * np.tan(above_mm / detector.radius_mm)
    return above_mm


def _near(
    p: Projections, fan: Fan, z_mm: float, spare_mm: float = 0.0
) -> Int64[np.ndarray, "near"]:
    """Views any ray of which may cross the plane next to the axis."""
    edge = np.array([-0.5, p.detector.rows - 0.5])
    reach = np.abs(edge - p.detector.central_row).max() * p.detector.row_mm
    if p.detector.shape == "SPHERICAL":
        reach = p.detector.radius_mm * np.tan(reach / p.detector.radius_mm)
    reach += np.abs(p.z_mm - p.centre_z_mm).max()
    reach *= float(np.max(fan.foot_mm / fan.length_mm))
    return np.flatnonzero(np.abs(p.z_mm[fan.views] - z_mm) <= reach + spare_mm)


def _fade(q: Float64[np.ndarray, "view column"]) -> Float64[np.ndarray, "view column"]:
    beyond = (np.abs(q) - _FADE_FROM) / (1 - _FADE_FROM)
    return np.where(np.abs(q) < 1, np.cos(np.pi / 2 * np.clip(beyond, 0, 1)) ** 2, 0.0)


def _between_rows(
    p: Projections, views: Int64[np.ndarray, "view"], row: Float64[np.ndarray, "view column"]
) -> Float64[np.ndarray, "view column"]:
    row = np.clip(row, 0, p.detector.rows - 1)
    low = np.minimum(row.astype(np.int64), max(p.detector.rows - 2, 0))
    high = np.minimum(low + 1, p.detector.rows - 1)
    later = row - low
    view, column = views[:, None], np.arange(p.detector.columns)
    readings = p.line_integrals
    return readings[view, low, column] * (1 - later) + readings[view, high, column] * later
