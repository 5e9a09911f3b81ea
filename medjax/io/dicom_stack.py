"""Frames put in order of place and time, and the affine that follows from their positions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from medjax.errors import UserError
from medjax.io.dicom_frames import Frame

SAME_PLACE = 5e-3
"""Millimetres along the normal under which two frames lie at one place."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Stack:
    """Frames of one volume or series of volumes.

    Attributes:
      order: index of the frame at each time and slice.
      spacing: mm between slices, rows and columns.
      affine: (z, y, x, 1) to RAS+ millimetres.
      time_step: seconds between volumes; None where unknown.
    """

    order: Int[np.ndarray, "t z"]
    spacing: tuple[float, float, float]
    affine: Float32[np.ndarray, "4 4"]
    time_step: float | None


def arrange(found: Sequence[Frame], path: Path) -> Stack:
    """Sorts placed frames of one direction by position along the normal, then by time.

    File names and instance numbers play no part. A gantry tilt shears the affine; the distance
    between slices is that of their positions, never SliceThickness.

    Raises:
      UserError: files given twice, several frames at one place that no time tells apart,
        missing slices, uneven distances.
    """
    _require_distinct(found, path)
    positions = np.stack([f.position for f in found if f.position is not None])
    columns, rows = found[0].columns, found[0].rows
    if len(positions) != len(found) or columns is None or rows is None or not found[0].spacing:
        raise ValueError("arrange() needs frames with a place")
    normal = np.cross(columns, rows)
    normal /= np.linalg.norm(normal)
    depth = positions @ normal
    ranks = np.argsort(depth, kind="stable")
    breaks = np.flatnonzero(np.diff(depth[ranks]) > SAME_PLACE) + 1
    places = np.split(ranks, breaks)
    order, time_step = _in_time(found, places, path)
    step = _slice_step(found, order[0], positions, depth, path)
    if step is None:
        step = normal * (found[0].thickness or 1.0)
    row_spacing, column_spacing = found[0].spacing
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ step
    affine[:3, 1] = LPS_TO_RAS @ (rows * row_spacing)
    affine[:3, 2] = LPS_TO_RAS @ (columns * column_spacing)
    affine[:3, 3] = LPS_TO_RAS @ positions[order[0, 0]]
    spacing = (float(np.linalg.norm(step)), row_spacing, column_spacing)
    return Stack(order, spacing, affine.astype(np.float32), time_step)


def _require_distinct(found: Sequence[Frame], path: Path) -> None:
    uids = [f.uid for f in found if f.uid]
    if len(set(uids)) < len(uids):
        raise UserError(
            f"{path}: {len(uids) - len(set(uids))} of {len(uids)} images are there twice "
            "(same SOPInstanceUID); remove the copies"
        )


def _in_time(
    found: Sequence[Frame], places: Sequence[Int[np.ndarray, "t"]], path: Path
) -> tuple[Int[np.ndarray, "t z"], float | None]:
    counts = {len(place) for place in places}
    if counts == {1}:
        return np.concatenate(places)[None], None
    if len(counts) > 1:
        crowded = next(place for place in places if len(place) == max(counts))
        raise UserError(
            f"{path}: between {min(counts)} and {max(counts)} images lie at one place (such as "
            f"{_labels(found, crowded)}); remove the duplicates or incomplete volumes"
        )
    for clock in _shared_clocks(found):
        times = [np.array([found[i].clocks[clock] for i in place]) for place in places]
        if all(len(np.unique(t)) == len(t) for t in times):
            order = np.stack([p[np.argsort(t)] for p, t in zip(places, times, strict=True)], axis=1)
            return order, _time_step(found, order)
    raise UserError(
        f"{path}: {counts.pop()} images lie at each place (such as {_labels(found, places[0])}) "
        "and nothing tells their times apart; remove the duplicates or split the series"
    )


def _shared_clocks(found: Sequence[Frame]) -> list[str]:
    return [name for name in found[0].clocks if all(name in f.clocks for f in found)]


def _time_step(found: Sequence[Frame], order: Int[np.ndarray, "t z"]) -> float | None:
    """Seconds between volumes, from the first attribute in seconds that grows steadily."""
    for clock in ("TriggerTime", "FrameAcquisitionDateTime", "AcquisitionTime", "ContentTime"):
        if clock in _shared_clocks(found):
            steps = np.diff([found[i].clocks[clock] for i in order[:, 0]])
            if np.all(steps > 0) and np.allclose(steps, np.median(steps), rtol=0.1, atol=0.02):
                return float(np.mean(steps))
    return None


def _slice_step(
    found: Sequence[Frame],
    slices: Int[np.ndarray, "z"],
    positions: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, "n"],
    path: Path,
) -> Float[np.ndarray, "3"] | None:
    """The vector from one slice to the next; None for a lone slice."""
    if len(slices) == 1:
        return None
    gaps = np.diff(depth[slices])
    # Not the median of all: half of a short stack may be missing.
    usual = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    missing = np.rint(gaps / usual).astype(int) - 1
    even = np.abs(gaps - (missing + 1) * usual) <= max(0.05, 0.02 * usual)
    if np.all(even) and np.any(missing > 0):
        at = int(np.argmax(missing > 0))
        before, after = found[slices[at]], found[slices[at + 1]]
        count, holes = int(missing.sum()), int((missing > 0).sum())
        raise UserError(
            f"{path}: {count} slices are missing in {holes} gaps, "
            f"the first between {before.label} and {after.label} (positions "
            f"{depth[slices[at]]:.2f} and {depth[slices[at + 1]]:.2f} mm, usual distance "
            f"{usual:.2f} mm); export the series again"
        )
    step = (positions[slices[-1]] - positions[slices[0]]) / (len(slices) - 1)
    line = positions[slices[0]] + np.arange(len(slices))[:, None] * step
    off = float(np.max(np.linalg.norm(positions[slices] - line, axis=1)))
    if off > max(0.1, 0.1 * usual):
        raise UserError(
            f"{path}: slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm, up to "
            f"{off:.2f} mm off a straight, even stack); give the evenly spaced part alone"
        )
    return step


def _labels(found: Sequence[Frame], indices: Int[np.ndarray, "n"]) -> str:
    return " and ".join(found[i].label for i in indices[:2])
