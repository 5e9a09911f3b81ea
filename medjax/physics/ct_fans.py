"""Where the rays of a scan run in the plane: its views sorted into fans of one focal spot position.

A flying focal spot takes turns between a few positions. Views of one position make a regular scan
of their own, with its own rays; `fans` separates them. Angles and offsets are those of
`ct_geometry`: θ = −φ, because image rows grow downwards and the manual's y grows upwards.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from medjax.errors import UserError
from medjax.io.projections import Detector, Projections

_MOST_POSITIONS = 16
# Shifts and radii that differ by less are one position: radians, mm, mm.
_SAME = np.array([1e-6, 1e-3, 1e-3, 1e-3])


class Fan(NamedTuple):
    """The views of one focal spot position, and the rays that all of them share.

    Attributes:
      views: index into the projections, in order of growing angle.
      angle: view angle θ in radians, unwrapped.
      step: radians between one view and the next, as a rule; 0 for a lone view.
      lean: a ray's parallel-beam angle is `angle − lean` [column].
      offset_mm: its signed distance from the axis of rotation, growing with the column.
      foot_mm: from the focal spot to the ray's point next to the axis, in the plane.
      length_mm: from the focal spot to the detector, in the plane.
    """

    views: Int64[np.ndarray, "view"]
    angle: Float64[np.ndarray, "view"]
    step: float
    lean: Float64[np.ndarray, "column"]
    offset_mm: Float64[np.ndarray, "column"]
    foot_mm: Float64[np.ndarray, "column"]
    length_mm: Float64[np.ndarray, "column"]


def fans(projections: Projections) -> list[Fan]:
    """One `Fan` for each focal spot position.

    Raises:
      UserError: the focal spot takes more than 16 positions, so there are no regular fans.
    """
    p = projections
    shift = p.angle - p.centre_angle, p.z_mm - p.centre_z_mm, p.radius_mm - p.centre_radius_mm
    position = np.stack([*shift, p.centre_radius_mm], axis=-1)
    kinds, which = np.unique(np.rint(position / _SAME), axis=0, return_inverse=True)
    if len(kinds) > _MOST_POSITIONS:
        raise UserError(
            f"{p.source}: the focal spot or the detector takes {len(kinds)} positions relative to "
            f"the gantry, more than {_MOST_POSITIONS}; only a periodic flying focal spot can be "
            "rebinned"
        )
    return [_fan(p, np.flatnonzero(which.ravel() == kind)) for kind in range(len(kinds))]


def _fan(p: Projections, views: Int64[np.ndarray, "view"]) -> Fan:
    angle = -p.centre_angle[views]
    # In the order of acquisition: angles of several axial turns may overlap.
    step = float(np.median(np.abs(np.diff(angle)))) if len(angle) > 1 else 0.0
    order = np.argsort(angle, kind="stable")
    views, angle = views[order], angle[order]
    one = views[0]
    # At θ = 0 the detector axis is (1, 0) and the central ray (0, 1).
    centre = np.array([0.0, -p.centre_radius_mm[one]])
    turned = p.angle[one] - p.centre_angle[one]
    spot = p.radius_mm[one] * np.array([-np.sin(turned), -np.cos(turned)])
    ray = centre + _elements(p.detector) - spot
    length = np.hypot(*ray.T)
    along = ray / length[:, None]
    return Fan(
        views=views,
        angle=angle,
        step=step,
        lean=np.arctan2(along[:, 0], along[:, 1]),
        offset_mm=spot[0] * along[:, 1] - spot[1] * along[:, 0],
        foot_mm=-along @ spot,
        length_mm=length,
    )


def _elements(detector: Detector) -> Float64[np.ndarray, "column 2"]:
    """Detector columns relative to the focal centre, at θ = 0."""
    away = (np.arange(detector.columns) - detector.central_column) * detector.column_mm
    d = detector.radius_mm
    if detector.shape == "FLAT":
        return np.stack([away, np.full_like(away, d)], axis=-1)
    return d * np.stack([np.sin(away / d), np.cos(away / d)], axis=-1)


def field_mm(projections: Projections) -> float:
    """Radius of the circle that every view sees whole."""
    edges = [abs(fan.offset_mm[end]) for fan in fans(projections) for end in (0, -1)]
    return float(min(edges))
