"""Files in, restored files out: the same geometry, unit and identity, marked as derived."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from medjax import accept
from medjax.errors import UserError
from medjax.io import full_scale, read_scan, write_scan
from medjax.io.common import extension
from medjax.io.dicom import FORMAT as DICOM
from medjax.io.folder import READERS
from medjax.io.grey import check_window, from_grey, to_grey
from medjax.placing import Placement, placement
from medjax.remarks import Remark, remarks
from medjax.scan import Scan
from medjax.seen import NOTHING, Seen
from medjax.tasks.base import Task

_log = logging.getLogger(__name__)
Image = Float32[np.ndarray, "*space"]
Restore = Callable[[Image], Image]
Progress = Callable[[int, int], None]
# Of a picture's deviation: a few greys of 255, which nobody could see.
BRIGHTER = 8


def restore_file(
    restore: Restore,
    task: Task,
    source: Path,
    target: Path,
    *,
    description: str,
    modality: str | None = None,
    window: tuple[float, float] | None = None,
    seen: Seen = NOTHING,
    progress: Progress = lambda done, of: None,
) -> tuple[Path, ...]:
    """Restores a scan of any supported format and writes it beside its source's geometry.

    Where the network learned from scans that were all brought to one grid, volumes are turned and
    interpolated to it, and what the network changes there is brought back and added to the file's
    own voxels: detail finer than the grid stays as it was. Whatever makes a result less certain
    is logged as a warning and added to the description.

    Args:
      restore: `[*space]` in the values of `task.normalise` to the same, of `task.dims` axes.
      task: which unit and how many axes of space the network was trained for.
      source: file, or folder with one DICOM series.
      target: file or folder to write; must not exist.
      description: goes into the DICOM series description.
      modality: of files that do not say, e.g. CT for a NIfTI file in HU.
      window: the values that a picture's black and white stand for, of the input if that is a
        picture, else of the output.
      seen: what scans the network learned from (`medjax.trained.Trained.seen`).
      progress: told after each slice or volume: done, of.

    Returns:
      The files written.

    Raises:
      UserError: the input cannot be read or is not of the task's kind, or the output exists.
    """
    opened = _open(task, source, target, modality, window, seen)
    scan, greys = opened.scan, opened.greys
    for remark in opened.remarks:
        _log.warning("%s", remark.line)
    restored = restore_array(
        lambda values, undo: undo(restore(values)), task, scan, progress, opened.place
    )
    if scan.valid is not None:
        restored = np.where(scan.valid, restored, scan.array)
    if greys is not None:
        restored = to_grey(scan, restored, greys)
    shown = None
    if window is not None and greys is None:
        shown = ((window[0] + window[1]) / 2, window[1] - window[0])
    result = _as_read(scan.replace(array=restored), opened.colour, target)
    return write_scan(result, target, description=opened.said(description), window=shown)


def spread_file(
    spread: Restore,
    task: Task,
    source: Path,
    target: Path,
    *,
    description: str,
    modality: str | None = None,
    window: tuple[float, float] | None = None,
    seen: Seen = NOTHING,
    progress: Progress = lambda done, of: None,
) -> tuple[Path, ...]:
    """Writes where the restoration of a scan is unsure: a standard deviation, in the scan's unit.

    Args:
      spread: `[*space]` in the values of `task.normalise` to a standard deviation in the same,
        such as a run's `spread`, or the `disagreement` of random restorations.
      task, source, target, description, modality, window, seen, progress: as in `restore_file`;
        of a picture, black is no deviation and white is an eighth of its range (`BRIGHTER`).

    Returns:
      The files written.

    Raises:
      UserError: as `restore_file`.
    """
    opened = _open(task, source, target, modality, window, seen)
    scan, greys = opened.scan, opened.greys

    def deviation(values: Image, undo: Restore) -> np.ndarray:
        found = spread(values)
        # `undo` may shift, and a deviation has no zero to shift.
        return undo(found) - undo(np.zeros_like(found))

    found = restore_array(deviation, task, scan, progress, opened.place, change=False)
    if scan.valid is not None:
        found = np.where(scan.valid, found, np.float32(0))
    if full_scale(scan) is not None:
        _log.info("%s: white is a deviation of 1/%d of black to white", target, BRIGHTER)
        found = BRIGHTER * found
    if greys is not None:
        found = to_grey(scan, found + greys[0], greys)
    result = _as_read(scan.replace(array=found), opened.colour, target)
    return write_scan(result, target, description=opened.said(description))


class _Opened(NamedTuple):
    """A scan fit for the task.

    `greys`: the values that black and white stand for where it is a picture; `colour`: whether it
    came in colours; `place`: how it comes to the network's grid, where there is one.
    """

    scan: Scan
    greys: tuple[float, float] | None
    colour: bool
    place: Placement | None
    remarks: tuple[Remark, ...]

    def said(self, description: str) -> str:
        return ", ".join([description, *(remark.short for remark in self.remarks)])


def _open(
    task: Task,
    source: Path,
    target: Path,
    modality: str | None,
    window: tuple[float, float] | None,
    seen: Seen,
) -> _Opened:
    check_window(window)
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists already; name another output, nothing was overwritten")
    read = read_scan(source)
    if not read.array.size:
        raise UserError(f"{source}: holds no values (shape {read.array.shape}); save it again")
    scan, told = accept.in_grey(accept.named(read, modality), task)
    greys = accept.greys_of(scan, task, window)
    if greys is not None:
        scan = from_grey(scan, greys, scan.modality, task.unit)
    accept.check(scan, task, seen)
    accept.check_target(target, scan, window)
    place = None
    if seen.directions and task.dims == 3:
        spacing = tuple(low for low, _ in seen.spacing)
        place = placement(scan, seen.directions, spacing if task.interpolable else None)
    told += remarks(scan, task, seen, place)
    return _Opened(scan, greys, "c" in read.axes, place, told)


def _as_read(scan: Scan, colour: bool, target: Path) -> Scan:
    """Grey in three channels where a DICOM file in colours becomes one again."""
    if not colour or scan.header.get("format") != DICOM or extension(target) in READERS:
        return scan
    return scan.replace(array=np.repeat(scan.array[..., None], 3, axis=-1), axes=f"{scan.axes}c")


def restore_array(
    run: Callable[[Image, Restore], np.ndarray],
    task: Task,
    scan: Scan,
    progress: Progress,
    place: Placement | None = None,
    *,
    change: bool = True,
) -> Float32[np.ndarray, "..."]:
    """`run(values, undo)` on the task's axes of space together, every further axis one by one.

    `values` and `undo` are those of `task.normalise`; padding is background to the network.

    Args:
      place: the grid that volumes are brought to and their results back from.
      change: results are restorations, of which a finer file takes over the change alone; else
        they are maps.
    """
    array = scan.array if scan.valid is None else np.where(scan.valid, scan.array, task.background)
    leading = array.shape[: array.ndim - task.dims]
    out = np.empty_like(scan.array)
    count = int(np.prod(leading))
    for number, index in enumerate(np.ndindex(*leading), 1):
        own = np.ascontiguousarray(array[index], np.float32)
        brought = own if place is None else place.bring(own)
        found = run(*task.normalise(brought))
        if place is not None:
            found = place.restored(own, brought, found) if change else place.back(found)
        out[index] = found
        progress(number, count)
    return out
