"""Files in, restored files out: the same geometry, unit and identity, marked as derived."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from medjax.errors import UserError
from medjax.io import full_scale, read_scan, write_scan
from medjax.io.grey import check_window, from_grey, to_grey
from medjax.scan import Scan
from medjax.tasks.base import Task
from medjax.uncertainty import Draw, draws

Restore = Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]]


def restore_file(
    restore: Restore,
    task: Task,
    source: Path,
    target: Path,
    *,
    description: str,
    modality: str | None = None,
    window: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Path, ...]:
    """Restores a scan of any supported format and writes it beside its source's geometry.

    Args:
      restore: `[*space]` in the values of `task.normalise` to the same, of `task.dims` axes.
      task: which unit and how many axes of space the network was trained for.
      source: file, or folder with one DICOM series.
      target: file or folder to write; must not exist.
      description: goes into the DICOM series description.
      modality: of files that do not say, e.g. CT for a NIfTI file in HU.
      window: the values that a picture's black and white stand for, of the input if that is a
        picture, else of the output.
      progress: told after each slice or volume: done, of.

    Returns:
      The files written.

    Raises:
      UserError: the input cannot be read or is not of the task's kind, or the output exists.
    """
    check_window(window)
    scan, greys = _open(task, source, target, modality, window)
    restored = restore_array(lambda values, undo: undo(restore(values)), task, scan, progress)
    if scan.valid is not None:
        restored = np.where(scan.valid, restored, scan.array)
    if greys is not None:
        restored = to_grey(scan, restored, greys)
    shown = None
    if window is not None and greys is None:
        shown = ((window[0] + window[1]) / 2, window[1] - window[0])
    return write_scan(scan.replace(array=restored), target, description=description, window=shown)


def disagreement_file(
    draw: Draw,
    task: Task,
    source: Path,
    target: Path,
    *,
    count: int,
    description: str,
    modality: str | None = None,
    window: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Path, ...]:
    """Writes where random restorations of a scan disagree: their standard deviation, in its unit.

    Args:
      draw: `draw(seed)` restores at random, each seed otherwise.
      count: of restorations, two or more.
      task, source, target, description, modality, window, progress: as in `restore_file`; of a
        picture, black is no disagreement and white is one of the whole window.

    Returns:
      The files written.

    Raises:
      UserError: as `restore_file`.
    """
    scan, greys = _open(task, source, target, modality, window)

    def spread(values: Float32[np.ndarray, "*space"], undo: Restore) -> np.ndarray:
        found = draws(draw, values, count)
        # `undo` may shift, and a deviation has no zero to shift.
        return undo(found.mean + found.std) - undo(found.mean)

    found = restore_array(spread, task, scan, progress)
    if scan.valid is not None:
        found = np.where(scan.valid, found, np.float32(0))
    if greys is not None:
        found = to_grey(scan, found + greys[0], greys)
    return write_scan(scan.replace(array=found), target, description=description)


def _open(
    task: Task,
    source: Path,
    target: Path,
    modality: str | None,
    window: tuple[float, float] | None,
) -> tuple[Scan, tuple[float, float] | None]:
    """A scan fit for the task, and the window its greys stood for if it is a picture."""
    if target.exists():
        raise UserError(f"{target}: exists already; name another output, nothing was overwritten")
    scan = read_scan(source, modality)
    greys = None if full_scale(scan) is None else window
    if greys is not None:
        scan = from_grey(scan, greys, scan.modality, task.unit)
    if scan.unit != task.unit:
        raise UserError(
            f"{source}: its values are not {task.unit} as far as the file says; say --modality CT "
            "if they are, or --window LOW HIGH for the HU that a picture's black and white show"
        )
    if "c" in scan.axes:
        raise UserError(f"{source}: is a colour image; this network restores one channel")
    return scan, greys


def restore_array(
    run: Callable[[Float32[np.ndarray, "*space"], Restore], np.ndarray],
    task: Task,
    scan: Scan,
    progress: Callable[[int, int], None],
) -> Float32[np.ndarray, "..."]:
    """`run(values, undo)` on the task's axes of space together, every further axis one by one.

    `values` and `undo` are those of `task.normalise`; padding is background to the network.
    """
    array = scan.array if scan.valid is None else np.where(scan.valid, scan.array, task.background)
    if array.ndim < task.dims:
        raise UserError(f"{scan.source}: has {array.ndim} axes; this network needs {task.dims}")
    leading = array.shape[: array.ndim - task.dims]
    out = np.empty_like(scan.array)
    count = int(np.prod(leading))
    for number, index in enumerate(np.ndindex(*leading), 1):
        values, undo = task.normalise(np.ascontiguousarray(array[index], np.float32))
        out[index] = run(values, undo)
        progress(number, count)
    return out
