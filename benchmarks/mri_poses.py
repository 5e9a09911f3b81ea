"""How well the poses of a moving head are found from its k-space, and what that is worth.

    python -m benchmarks.mri_poses [--splits test] [--draws 1] [--noise 0.01]

Moves real T1 heads (dataset mri_t1, from MEDJAX_DATA) as `mri_motion_cgan3d` does, finds the
poses, and reconstructs the image in those and in the true ones, which no search can beat. Nothing
is trained. Errors of poses are root mean squares over the segments that hold half of k-space's
lines, about its centre, and over the others, whose little energy hardly tells.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.ldct.arguments import Parser, output, positive
from medjax.data import catalog
from medjax.errors import UserError
from medjax.experiment import find, load
from medjax.io.common import atomic
from medjax.physics.mri import Poses
from medjax.tasks.base import Record
from medjax.tasks.mri_kspace import MRIKSpaceMotion

# The scans of benchmarks.restoration.
SEED = 2_000_000
TITLES = {
    "with_motion": "with motion (dB)",
    "found": "poses found (dB)",
    "true": "true poses (dB)",
    "mae_with_motion": "MAE before (%)",
    "mae_found": "MAE after (%)",
    "inner_mm": "inner half (mm)",
    "inner_degrees": "inner half (degrees)",
    "outer_mm": "outer half (mm)",
    "outer_degrees": "outer half (degrees)",
    "seconds": "search (s)",
}


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        prog="python -m benchmarks.mri_poses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--splits", nargs="+", default=["test"], help="of mri_t1 (test)")
    parser.add_argument("--draws", type=positive, default=1, help="motions of each head (1)")
    parser.add_argument(
        "--noise", type=float, help="standard deviation, of bright tissue (the experiment's)"
    )
    parser.add_argument("--out", type=output, help="JSON with every value")
    try:
        report(parser.parse_args(args))
    except UserError as error:
        sys.stderr.write(f"benchmarks.mri_poses: {error}\n")
        return 2
    return 0


def report(options: argparse.Namespace) -> None:
    """Measures and prints; writes what there is after every head."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    task = load(find("mri_motion_cgan3d"), "cpu").task
    if options.noise is not None:
        task = dataclasses.replace(task, noise=options.noise)
    assert isinstance(task, MRIKSpaceMotion)
    data = catalog.load("mri_t1")
    records = [record for split in options.splits for record in data.split(split)]
    table = Table("head", *TITLES.values(), title=task.title)
    rows = []
    for row in measured(task, records, options.draws):
        rows.append(row)
        table.add_row(str(row["case"]), *(f"{row[key]:.2f}" for key in TITLES))
        sys.stderr.write(f"{row['case']}: {row['with_motion']:.2f} -> {row['found']:.2f} dB\n")
        if options.out:
            with atomic(options.out) as temporary:
                temporary.write_text(json.dumps(rows, indent=1))
    console.print(table)
    if options.out:
        console.print(f"wrote {options.out}")


def measured(
    task: MRIKSpaceMotion, records: Sequence[Record], draws: int
) -> Iterator[dict[str, Any]]:
    """One row for each head and motion, keyed as `TITLES`."""
    for number, record in enumerate(records):
        for draw in range(draws):
            seed = SEED + number * draws + draw
            scan = task.acquire(record, seed)
            case = task.case_of(record, scan)
            begin = time.perf_counter()
            poses = task.poses(scan)
            seconds = time.perf_counter() - begin
            found = task.judge(case, task.reconstruct(scan, poses))
            true = task.judge(case, task.reconstruct(scan, scan.poses))
            moved = task.judge(case, scan.degraded)
            yield {
                "case": case.name,
                "draw": draw,
                "with_motion": moved["psnr"],
                "found": found["psnr"],
                "true": true["psnr"],
                "mae_with_motion": moved["mae_percent"],
                "mae_found": found["mae_percent"],
                **errors(poses, scan.poses),
                "seconds": seconds,
            }


def errors(found: Poses, true: Poses) -> dict[str, float]:
    """Root mean square errors of translations and rotations, near the centre and beyond."""
    segments = len(true.translation_mm)
    inner = np.abs(np.arange(segments) - segments // 2) <= segments // 4
    told = {}
    for unit, a, b in zip(("mm", "degrees"), found, true, strict=True):
        squares = np.square(np.asarray(a) - np.asarray(b))
        for name, chosen in (("inner", inner), ("outer", ~inner)):
            told[f"{name}_{unit}"] = float(np.sqrt(squares[chosen].mean()))
    return told


if __name__ == "__main__":
    sys.exit(main())
