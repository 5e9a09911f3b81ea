"""Where the isocentre falls on the detector, found from the projections themselves."""

import numpy as np

from medjax.errors import UserError
from medjax.io.projections import Projections
from medjax.physics.ct_fans import fans, field_mm
from medjax.physics.ct_gather import rays_of
from medjax.physics.ct_geometry import ParallelBeam
from medjax.physics.ct_rebin import geometry_for, weighted_mean

# Few views tell the shift of a profile as well as many do.
_VIEWS = 60
_STEP = 0.5


def measure_central_column(projections: Projections, z_mm: float, reach: float = 3.0) -> float:
    """The central column, counted from 0, with which opposite views agree about the plane `z_mm`.

    Every ray in a plane is measured from its near and from its opposite side, and a wrong central
    column moves the two apart by twice its error. The mean square difference is taken for columns
    within `reach` of the one stated and refined by a parabola. Good to about a tenth of a column
    where the plane holds an object off the axis of rotation, in air.

    For files that count columns otherwise than the manual. (The PyTomography project reports this
    of two GE scans of LDCT-and-Projection-data, off by one and a half columns.)

    Raises:
      UserError: no ray in the plane is measured from both sides, or the best column lies at the end
        of the reach, so that the data and the geometry do not belong together.
    """
    stated = projections.detector.central_column
    tried = stated + np.arange(-reach, reach + _STEP / 2, _STEP)
    costs = np.array([_disagreement(projections, float(column), z_mm) for column in tried])
    best = int(np.argmin(costs))
    if best in (0, len(tried) - 1):
        raise UserError(
            f"{projections.source}: opposite views agree best {reach:g} columns or more from the "
            "stated centre of the detector; the projections do not fit their geometry"
        )
    left, middle, right = costs[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(tried[best] + _STEP * (left - right) / (2 * bend)) if bend > 0 else tried[best]


def _disagreement(projections: Projections, column: float, z_mm: float) -> float:
    """Mean square difference between a plane's rays and the same from the opposite side."""
    moved = projections.with_central_column(column)
    full = geometry_for(moved, 1, 1.0)
    # The same rays for every column tried.
    detectors = 2 * int(0.98 * field_mm(projections) / full.detector_mm)
    rays = rays_of(ParallelBeam(1, 1.0, _VIEWS, detectors, full.detector_mm))
    groups = fans(moved)
    near, opposite = (
        weighted_mean(moved, groups, rays, z_mm, sides=(side,)) for side in (False, True)
    )
    both = near.seen & opposite.seen
    if not np.any(both):
        raise UserError(
            f"{projections.source}: no ray in the plane z = {z_mm:.1f} mm was measured from both "
            "sides; choose another plane"
        )
    return float(np.mean((near.values - opposite.values)[both] ** 2))
