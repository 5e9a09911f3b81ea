"""What a user must be told: how a scan differs from those that the network learned from."""

from typing import NamedTuple

import numpy as np

from medjax import levels
from medjax.placing import Placement
from medjax.scan import Scan
from medjax.seen import Seen
from medjax.tasks.base import Task

# Pixels so many times larger or smaller than any in training change noise and detail.
FAR = 1.25

# Of a slice, by so much more lung or metal than in any of training it shows something else.
MORE_DARK, MORE_BRIGHT = 0.05, 0.0005


class Remark(NamedTuple):
    """What a user must know of a result."""

    line: str
    """In a sentence, for the screen."""
    short: str
    """In a few words, for the file's description."""


def remarks(scan: Scan, task: Task, seen: Seen, place: Placement | None) -> tuple[Remark, ...]:
    """How the scan's sampling, noise and values differ from all that the network learned from.

    Args:
      place: how its volumes come to the network's grid, where there is one.
    """
    return (*_sampling(scan, task, seen, place), *_look(scan, task, seen))


def _look(scan: Scan, task: Task, seen: Seen) -> tuple[Remark, ...]:
    if seen.noise is None or seen.far is None:
        return ()
    array = scan.array if scan.valid is None else np.where(scan.valid, scan.array, task.background)
    level, (dark, bright) = levels.level_of(array, task), levels.far_of(array, task)
    told: list[Remark] = []

    def tell(what: str, short: str) -> None:
        told.append(Remark(f"{scan.source}: {what}", short))

    low, high = task.display
    if level is None:
        tell(
            f"shows little between {low:g} and {high:g} {task.unit}, where this network restores: "
            "trust the result less",
            "outside the trained window",
        )
    elif level < seen.noise[0]:
        tell(
            "has less noise than anything that this network learned from "
            f"({level / seen.noise[0]:.2g} of the least): it may take detail for noise, "
            "compare it with the input",
            "less noise than trained",
        )
    elif level > seen.noise[1]:
        tell(
            "has more noise than anything that this network learned from "
            f"({level / seen.noise[1]:.2g} times the most): trust the result less",
            "more noise than trained",
        )
    if dark > seen.far[0] + MORE_DARK:
        tell(
            f"{dark:.0%} of a slice lie far below {low:g} {task.unit}, as lungs do; this network "
            f"saw no more than {seen.far[0]:.1%} of that: another anatomy to it, trust the result "
            "less",
            "untrained anatomy",
        )
    if bright > seen.far[1] + MORE_BRIGHT:
        tell(
            f"{bright:.2%} of a slice lie far above {high:g} {task.unit}, as metal does; this "
            f"network saw no more than {seen.far[1]:.2%} of that: streaks are not noise to it, "
            "trust the result less",
            "untrained bright values",
        )
    return tuple(told)


def _sampling(scan: Scan, task: Task, seen: Seen, place: Placement | None) -> tuple[Remark, ...]:
    if not seen.spacing:
        return ()
    if place is not None and scan.affine is None:
        line = (
            f"{scan.source}: does not say how it lies in space, so it was not turned; "
            f"{_learned(seen)} whose axes rise to {seen.directions}: check the result"
        )
        return (Remark(line, "not turned"),)
    steps = _steps(scan, task)
    if steps is None:
        line = f"{scan.source}: does not say how large its pixels are; {_learned(seen)}"
        return (Remark(line, "pixel size unknown"),)
    if place is not None:
        steps = tuple(steps[axis] for axis in place.order)
    if place is not None and task.interpolable:
        return _interpolated(scan, steps, seen, place)
    if all(
        low / FAR <= step <= high * FAR
        for step, (low, high) in zip(steps, seen.spacing, strict=True)
    ):
        return ()
    line = (
        f"{scan.source}: {_size(steps)}, {_learned(seen)}: noise and detail look different to it, "
        "trust the result less"
    )
    return (Remark(line, "untrained pixel size"),)


def _interpolated(
    scan: Scan, steps: tuple[float, ...], seen: Seen, place: Placement
) -> tuple[Remark, ...]:
    pairs = list(zip(place.turned, place.shape, strict=True))
    grid = _plain(tuple(low for low, _ in seen.spacing))
    if any(own > there for own, there in pairs):
        line = (
            f"{scan.source}: {_size(steps)}, {_learned(seen)}: restored at {grid} mm and the "
            "change added to the file's own voxels; finer detail, faults too, stays as it was"
        )
        return (Remark(line, f"at {grid} mm"),)
    if any(own < there for own, there in pairs):
        line = (
            f"{scan.source}: {_size(steps)}, {_learned(seen)}: interpolated for it, trust the "
            "result less"
        )
        return (Remark(line, "coarser than trained"),)
    return ()


def _steps(scan: Scan, task: Task) -> tuple[float, ...] | None:
    """Distance of samples along each axis of a record of the task."""
    if scan.spacing is None:
        return None
    if task.dims < 4:
        return scan.spacing[-task.dims :]
    return None if scan.time_step is None else (scan.time_step, *scan.spacing)


def _learned(seen: Seen) -> str:
    low, high = (tuple(ends) for ends in zip(*seen.spacing, strict=True))
    to = "" if _size(low) == _size(high) else f" to {_size(high)}"
    return f"this network learned from {_size(low)}{to}"


def _size(steps: tuple[float, ...]) -> str:
    """Of a series, seconds come first."""
    if len(steps) == 4:
        return f"{_size(steps[1:])} every {steps[0]:.3g} s"
    return f"{'voxels' if len(steps) == 3 else 'pixels'} of {_plain(steps)} mm"


def _plain(steps: tuple[float, ...]) -> str:
    """One number where all are equal."""
    said = [f"{step:.3g}" for step in steps]
    return said[0] if len(set(said)) == 1 else " x ".join(said)
