"""A dataset from the user's own folder of DICOM, NIfTI or pictures.

Scans are read one at a time and written as they are read, so the folder may be larger than
memory. No subject is in two splits.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data.builder import DatasetInfo, Shard, datasets_folder, versions, write_dataset
from medjax.data.catalog import RECIPES
from medjax.data.intake import Intake, Part, Progress
from medjax.errors import UserError
from medjax.io import ScanRef, read_folder
from medjax.io.grey import check_window

MAX_SHARDS = 64
NAME = re.compile(r"[a-z][a-z0-9_]*")


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
    intake = Intake(Path(folder), dims, window, pixel_mm, progress, total)
    info = DatasetInfo(
        name=name,
        version=_next_version(name, home),
        licence=licence,
        source=f"{len(contents.scans)} scans of the user's own",
        modality="",
        unit="",
        dims=dims,
    )
    shards = {split: _shards(intake, members) for split, members in parts.items()}
    try:
        info = write_dataset(info, shards, home, intake.finish)
    except OSError as error:
        raise UserError(
            f"{datasets_folder(home)}: cannot write the dataset: {error.strerror or error}"
        ) from error
    problems = (*contents.problems, *intake.problems())
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


def _shards(intake: Intake, parts: Sequence[Part]) -> list[Shard]:
    count = min(len(parts), MAX_SHARDS)
    groups = [parts[i * len(parts) // count : (i + 1) * len(parts) // count] for i in range(count)]
    return [lambda group=group: intake.records(group) for group in groups]


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
