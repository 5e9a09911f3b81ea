"""From the scans of a folder to the records of a dataset, one scan in memory at a time."""

import csv
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.builder import DatasetInfo, Record
from medjax.data.convert import images
from medjax.errors import UserError
from medjax.io import ScanRef
from medjax.io.grey import from_grey
from medjax.scan import Scan

CASES_FILE = "cases.csv"
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Part:
    """The share of a scan's slices, from `start` to `stop` in [0, 1], that goes into a split."""

    ref: ScanRef
    split: str
    start: float = 0.0
    stop: float = 1.0


class Intake:
    """Reads scans as their turn comes and gathers what is learned on the way.

    Args:
      folder: whose files are taken in; cases are named by their paths in it.
      dims: as in `medjax.data.folder.prepare`, like the next three.
      window: the HU that black and white of pictures stand for.
      pixel_mm: side of a pixel of files that do not say.
      progress: called with scans done and scans in all.
      total: scans in all.
    """

    def __init__(
        self,
        folder: Path,
        dims: int,
        window: tuple[float, float] | None,
        pixel_mm: float | None,
        progress: Progress | None,
        total: int,
    ) -> None:
        self._folder = folder if folder.is_dir() else folder.parent
        self._dims = dims
        self._window = window
        self._pixel_mm = pixel_mm
        self._progress = progress
        self._total = total
        self._done = 0
        self._kind: tuple[str, str] | None = None
        self._cases: dict[str, str] = {}
        self._bad: dict[Path, str] = {}
        self._split_of: dict[str, str] = {}
        self._colour: set[Path] = set()

    def records(self, parts: Sequence[Part]) -> Iterator[Record]:
        """The slices, volumes or series of these scans; a bad file is left out and noted.

        Raises:
          UserError: a scan has another unit or modality than those before.
        """
        for part in parts:
            yield from self._scan(part)
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)

    def _scan(self, part: Part) -> Iterator[Record]:
        # A function of its own, so that one scan is gone before the next is read.
        try:
            scan = self._assume(part.ref.read())
            stack, spacing = images(scan, self._dims)
        except (UserError, OSError) as error:
            self._bad[part.ref.source] = str(error)
            return
        subject = _digest(scan.subject or part.ref.subject)
        # Files other than DICOM may name their subject inside, which the dealing could not know.
        if (
            self._split_of.setdefault(subject, part.split) != part.split
            and part.stop - part.start == 1
        ):
            self._bad[part.ref.source] = (
                f"{part.ref.source}: its subject is already in another split; left out"
            )
            return
        self._same_kind(scan.modality, scan.unit, part.ref.source)
        if scan.axes.endswith("c"):
            self._colour.add(part.ref.source)
        name = str(min(part.ref.paths).relative_to(self._folder))
        case = _digest(name)
        self._cases[case] = name
        about = {
            "spacing": spacing,
            "case": case,
            "subject": subject,
            "modality": scan.modality,
            "unit": scan.unit,
        }
        del scan
        first, last = round(part.start * len(stack)), round(part.stop * len(stack))
        yield from _slices(stack[first:last], first, about)

    def _assume(self, scan: Scan) -> Scan:
        """The scan with what the user said of files that do not say it themselves."""
        if self._window is not None:
            scan = from_grey(scan, self._window, "CT", "HU")
        if self._pixel_mm is not None and scan.spacing is None:
            scan = scan.replace(spacing=(self._pixel_mm,) * len(scan.space))
        return scan

    def _same_kind(self, modality: str, unit: str, source: Path) -> None:
        if self._kind is None:
            self._kind = (modality, unit)
        if self._kind != (modality, unit):
            kinds = [f"{m} in {u or 'arbitrary units'}" for m, u in ((modality, unit), self._kind)]
            raise UserError(
                f"{source}: {kinds[0]} among scans that are {kinds[1]}; prepare each kind from a "
                "folder of its own, or say what all are with --modality"
            )

    def problems(self) -> tuple[str, ...]:
        """One line about each file that is not in the dataset, or not as it was."""
        colour = f"{len(self._colour)} colour images were stored as luminance"
        return (*self._bad.values(), *([colour] if self._colour else []))

    def finish(self, here: Path, info: DatasetInfo) -> DatasetInfo:
        """Writes which file is which case, and completes what the dataset says of itself.

        Raises:
          UserError: a split got nothing.
        """
        empty = [split for split, count in info.counts.items() if not count]
        if empty or self._kind is None:
            why = f"; the first problem: {self.problems()[0]}" if self._bad else ""
            raise UserError(f"{self._folder}: nothing for the split {', '.join(empty)}{why}")
        with (here / CASES_FILE).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["case", "file"])
            table.writerows(sorted(self._cases.items()))
        modality, unit = self._kind
        return dataclasses.replace(info, modality=modality, unit=unit)


def _slices(stack: np.ndarray, first: int, about: Mapping[str, Any]) -> Iterator[Record]:
    for i in range(len(stack)):
        # Not a variable: it would keep the whole scan in memory while the next is read.
        yield {"image": stack[i], "index": first + i, **about}  # pyright: ignore[reportReturnType]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
