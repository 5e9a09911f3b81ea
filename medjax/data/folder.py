"""A dataset from the user's own folder of DICOM, NIfTI or pictures.

Scans are read one at a time and written as they are read, so the folder may be larger than
memory. No subject is in two splits.
"""

import csv
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.builder import DatasetInfo, Record, Shard, datasets_folder, versions, write_dataset
from medjax.data.catalog import RECIPES
from medjax.data.convert import images
from medjax.errors import UserError
from medjax.io import ScanRef, read_folder
from medjax.io.grey import check_window, from_grey
from medjax.scan import Scan

CASES_FILE = "cases.csv"
MAX_SHARDS = 64
NAME = re.compile(r"[a-z][a-z0-9_]*")

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made.

    Attributes:
      info: of the new dataset.
      problems: one line about each file that is not in it, or not as it was.
      next_step: the command to run now.
    """

    info: DatasetInfo
    problems: tuple[str, ...]
    next_step: str


@dataclasses.dataclass(frozen=True)
class Part:
    """The share of a scan's slices, from `start` to `stop` in [0, 1], that goes into a split."""

    ref: ScanRef
    split: str
    start: float = 0.0
    stop: float = 1.0


def prepare(
    folder: Path,
    name: str,
    home: Path | None = None,
    *,
    dims: int = 2,
    test: float = 0.2,
    valid: float = 0.0,
    split_slices: bool = False,
    licence: str = "unknown",
    modality: str | None = None,
    window: tuple[float, float] | None = None,
    pixel_mm: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PrepareReport:
    """Makes the dataset `name` from every scan below a folder; a bad file is left out and named.

    Colour pictures become their luminance. Beside the records lies `cases.csv`, which says which
    file is which case; it never leaves the user's disk.

    Args:
      folder: of DICOM, NIfTI, PNG, JPEG, TIFF or NumPy files, in any depth.
      name: small letters, digits and underscores. An existing name gets a new major version.
      home: see `datasets_folder`.
      dims: 2, each slice is a record; 3, each volume; 4, each series of volumes.
      test: share of the subjects that is kept for testing, at least one.
      valid: share of the subjects to choose checkpoints by; 0 makes no such split.
      split_slices: where there is one subject only, test on a block of its slices.
      licence: what the data may be used for.
      modality: what the scans are, where files do not say; "CT" means Hounsfield units.
      window: the HU that black and white of pictures stand for; makes them CT scans.
      pixel_mm: side of a pixel in mm, of files that do not say.
      seed: which subjects go where.
      progress: called with scans done and scans in all.

    Raises:
      UserError: a bad name, nothing readable, one subject only, or units or modalities mixed.
    """
    _check(name, dims, test, valid)
    check_window(window)
    if pixel_mm is not None and not pixel_mm > 0:
        raise UserError(f"--pixel-mm {pixel_mm:g}: a pixel has a positive size")
    contents = read_folder(Path(folder), modality)
    if not contents.scans:
        raise UserError(
            f"{folder}: none of its files can be read; the first: {contents.problems[0]}"
        )
    parts = _parts(folder, contents.scans, test, valid, split_slices and dims == 2, seed)
    total = sum(map(len, parts.values()))
    writer = _Writer(Path(folder), dims, window, pixel_mm, progress, total)
    info = DatasetInfo(
        name=name,
        version=_next_version(name, home),
        licence=licence,
        source=f"{len(contents.scans)} scans of the user's own",
        modality="",
        unit="",
        dims=dims,
    )
    shards = {split: _shards(writer, members) for split, members in parts.items()}
    try:
        info = write_dataset(info, shards, home, writer.finish)
    except OSError as error:
        raise UserError(
            f"{datasets_folder(home)}: cannot write the dataset: {error.strerror or error}"
        ) from error
    problems = (*contents.problems, *writer.problems())
    fits = dims == 2 and info.unit == "HU"
    experiment = "quickstart" if fits else "EXPERIMENT"
    return PrepareReport(info, problems, f"medjax train {experiment} --data {name}")


def split_subjects(
    subjects: Sequence[str], test: float, valid: float, seed: int
) -> dict[str, set[str]]:
    """Deals subjects at random into train, valid (if its share is positive) and test.

    Every split that is asked for gets one subject at least, train included.
    """
    order = np.random.default_rng(seed).permutation(sorted(set(subjects)))
    tests = max(1, round(test * len(order))) if test > 0 else 0
    valids = max(1, round(valid * len(order))) if valid > 0 else 0
    if tests + valids >= len(order):
        raise UserError(
            f"{len(order)} subjects do not fill train, valid and test; add scans or set --valid 0"
        )
    cuts = {
        "train": order[tests + valids :],
        "valid": order[tests : tests + valids],
        "test": order[:tests],
    }
    return {name: {str(s) for s in members} for name, members in cuts.items() if len(members)}


def _parts(
    folder: Path,
    refs: Sequence[ScanRef],
    test: float,
    valid: float,
    split_slices: bool,
    seed: int,
) -> dict[str, list[Part]]:
    subjects = {ref.subject for ref in refs}
    if len(subjects) > 1 or test == 0:
        dealt = split_subjects([ref.subject for ref in refs], test, valid, seed)
        return {
            split: [Part(ref, split) for ref in refs if ref.subject in members]
            for split, members in dealt.items()
        }
    if not split_slices:
        raise UserError(
            f"{folder}: all scans are of one subject, which gives no honest test; add another "
            "subject, or pass --split-slices to test on a block of slices (--dims 2)"
        )
    ends = {"train": (0.0, 1 - test - valid), "valid": (1 - test - valid, 1 - test)}
    ends["test"] = (1 - test, 1.0)
    return {
        split: [Part(ref, split, *end) for ref in refs]
        for split, end in ends.items()
        if end[0] < end[1]
    }


def _shards(writer: "_Writer", parts: Sequence[Part]) -> list[Shard]:
    count = min(len(parts), MAX_SHARDS)
    groups = [parts[i * len(parts) // count : (i + 1) * len(parts) // count] for i in range(count)]
    return [lambda group=group: writer.records(group) for group in groups]


class _Writer:
    """Reads scans as their turn comes and gathers what is learned on the way."""

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
        colour = f"{len(self._colour)} colour images were stored as luminance"
        return (*self._bad.values(), *([colour] if self._colour else []))

    def finish(self, here: Path, info: DatasetInfo) -> DatasetInfo:
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


def _next_version(name: str, home: Path | None) -> str:
    found = versions(name, home)
    return f"{int(found[-1].name.split('.')[0]) + 1}.0.0" if found else "1.0.0"


def _check(name: str, dims: int, test: float, valid: float) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: use small letters, digits and _, starting with a letter")
    if any(r.info.name == name and not r.local for r in RECIPES):
        raise UserError(f"--name {name}: that is the bundled dataset's; choose another")
    if dims not in (2, 3, 4):
        raise UserError(f"--dims {dims}: 2 makes a record a slice, 3 a volume, 4 a series")
    if not (0 <= test < 1 and 0 <= valid < 1 and test + valid < 1):
        raise UserError(f"--test {test} --valid {valid}: shares of 1 that leave something to train")
