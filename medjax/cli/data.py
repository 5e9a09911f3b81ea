"""medjax data: the datasets there are, and new ones of the user's own scans."""

import dataclasses
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from medjax.cli.common import NoOptions, bar, parse

WIDTH = 76


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Makes a dataset from a folder of DICOM, NIfTI or pictures, split by patient.

    Attributes:
      folder: every scan below it is taken; bad files are named and left out.
      name: the dataset's name, for `medjax train EXPERIMENT --data NAME`.
      dims: 2 for slices, 3 for whole volumes, 4 for series of volumes.
      test: fraction of the patients held out for testing.
      valid: fraction of the patients held out for choosing settings.
      licence: what `medjax data list` shows as the scans' licence.
      split_slices: where there is one patient only, test on a block of its slices.
      modality: of files that do not say (NIfTI, npz): CT means that values are HU.
      window: the HU that black and white of pictures stand for, e.g. -160 240.
      pixel_mm: side of a pixel in mm, of files that do not say (pictures).
      seed: of the split.
    """

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    name: Annotated[str, tyro.conf.arg(metavar="NAME")]
    dims: int = 2
    test: float = 0.2
    valid: float = 0.0
    licence: str = "unknown"
    split_slices: bool = False
    modality: Annotated[str | None, tyro.conf.arg(metavar="CODE")] = None
    window: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    pixel_mm: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None
    seed: int = 0


def list_datasets(args: Sequence[str]) -> int:
    from medjax.data import catalog

    parse(NoOptions, args, "medjax data list")
    for info in catalog.available():
        counts = ", ".join(f"{n} {split}" for split, n in info.counts.items())
        local = any(r.local and r.info.name == info.name for r in catalog.RECIPES)
        made = "of the folder that MEDJAX_DATA names" if local else "when first asked for"
        size = f"{info.bytes / 1e6:.1f} MB" if info.bytes else f"made {made}"
        facts = (f"{info.modality}{f' in {info.unit}' if info.unit else ''}", counts, size)
        sys.stdout.write(f"{info.name}  {'; '.join(fact for fact in facts if fact)}\n")
        for text in (info.source, f"licence: {info.licence}"):
            sys.stdout.write(textwrap.indent(textwrap.fill(text, WIDTH), "    ") + "\n")
    sys.stdout.write("\nnext: medjax train EXPERIMENT --data NAME\n")
    return 0


def prepare(args: Sequence[str]) -> int:
    from medjax.data import folder

    chosen = parse(Prepare, args, "medjax data prepare")
    with bar("reading scans") as progress:
        report = folder.prepare(**dataclasses.asdict(chosen), progress=progress)
    for problem in report.problems:
        sys.stderr.write(f"left out: {problem}\n")
    counts = ", ".join(f"{n} {split}" for split, n in report.info.counts.items())
    sys.stdout.write(f"wrote dataset {report.info.name}: {counts}\nnext: {report.next_step}\n")
    return 0
