"""How long a trained run takes to restore a whole series of CT slices, from file to file.

    medjax train quickstart
    python -m benchmarks.series runs/quickstart [--slices 100] [--out FILE]

The series is a NIfTI volume of 512 x 512 slices: real ones that come with pydicom, one after the
other and again, each with other noise (what is in them does not change the time). Times are of one
process that does what `medjax restore` does: opening the run, compiling with the first slice,
the slices after it, and reading and writing the files. Give several runs to compare them.

On 2 CPU cores a run of ldct_rdae (`cpu` setting, 8 mirror images of each slice) took 687 s for 100
slices: 8.6 s to read, compile and restore the first, 6.7 s for each after it, 0.4 s to write.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
from jaxtyping import Float32

from medjax.data import catalog
from medjax.data.regrid import square
from medjax.errors import UserError
from medjax.io.common import atomic
from medjax.restore import restore_file
from medjax.tasks.ldct import AIR
from medjax.trained import open_run

SIDE = 512
NOISE_HU = 15.0


@dataclasses.dataclass(frozen=True)
class Series:
    """Seconds of one series through one run."""

    run: str
    device: str
    slices: int
    ensemble: bool
    opening: float
    first_slice: float
    """With reading the file and compilation."""
    a_slice: float
    """Median of those after the first."""
    writing: float
    """Of writing the output."""
    whole: float


def slices_of(count: int) -> Float32[np.ndarray, "z y x"]:
    """Real slices in HU with noise, again and again."""
    records = catalog.load("ct_samples").split("train")
    real = [s for s in (square(r["image"], AIR) for r in records) if len(s) == SIDE]
    rng = np.random.default_rng(0)
    noisy = [real[z % len(real)] + rng.normal(0, NOISE_HU, (SIDE, SIDE)) for z in range(count)]
    return np.stack(noisy).astype(np.float32)


def measure(folder: Path, source: Path, slices: int) -> Series:
    """Restores the file with the run of this folder.

    Raises:
      UserError: the folder is no run, or its task takes other scans.
    """
    begin = time.perf_counter()
    run = open_run(folder)
    opened = time.perf_counter()
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        restore_file(
            run.restore,
            run.experiment.task,
            source,
            Path(scratch) / "restored.nii",
            description="restored",
            modality="CT",
            seen=run.seen,
            progress=lambda done, of: ends.append(time.perf_counter()),
        )
        finished = time.perf_counter()
    each = [b - a for a, b in itertools.pairwise(ends)]
    return Series(
        folder.name,
        jax.devices()[0].device_kind,
        slices,
        run.experiment.tiling.ensemble,
        opened - begin,
        ends[0] - opened,
        statistics.median(each) if each else ends[0] - opened,
        finished - ends[-1],
        finished - begin,
    )


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.series",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of CT runs")
    parser.add_argument("--slices", type=int, default=100, help="of the series (100)")
    parser.add_argument("--out", type=Path, help="file for JSON rows")
    options = parser.parse_args(args)
    rows = []
    try:
        if options.slices < 1:
            raise UserError(f"--slices {options.slices}: must be 1 or more")
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "series.nii"
            volume = nib.Nifti1Image(slices_of(options.slices).T, np.diag([0.7, 0.7, 1.0, 1.0]))
            nib.save(volume, source)
            for folder in options.runs:
                rows.append(measure(folder, source, options.slices))
                print(line(rows[-1]))
        if options.out:
            with atomic(options.out) as temporary:
                temporary.write_text(json.dumps([dataclasses.asdict(r) for r in rows], indent=1))
            print(f"wrote {options.out}")
    except UserError as error:
        sys.stderr.write(f"benchmarks.series: {error}\n")
        return 2
    return 0


def line(row: Series) -> str:
    """One run's times in words."""
    mirrored = ", each in all its mirror images" if row.ensemble else ""
    return (
        f"{row.run} on {row.device}: {row.slices} slices of {SIDE} x {SIDE}{mirrored}: "
        f"{row.whole:.1f} s in all; opening {row.opening:.1f} s, reading and the first slice with "
        f"compilation {row.first_slice:.1f} s, {row.a_slice:.3f} s a slice after it, writing "
        f"{row.writing:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
