"""Whether a real run survives what ends runs: the faults, one after the other, and a tally.

    python -m benchmarks.soak [--kills 50] [--steps 150] [--seed 0] [--out FILE] [--keep FOLDER]

Runs `medjax train` on the CT slices that come with pydicom (benchmarks/soak/experiment.py: the
GAN of quickstart, small, a checkpoint every 10 steps) in processes of its own: once undisturbed,
then killed with -9 at random moments of start-up, compilation, steps, saves and evaluation, told
to end by SIGTERM, with bytes of its newest checkpoint flipped, with its disk full, its data gone,
and NaN in a batch. After each the same command is given again. What must hold: no more is done
again than the steps since the last finished save (a save is written while training goes on, so
the newest may be unfinished; the one before it is not), the final state is bit-identical to the
undisturbed run's and so are the rows of metrics, exit codes are as documented, and one line names
the fault. With a full disk what was saved before stays, and the run ends at the latest before the
save after the one that failed. Where a promise breaks it is named, and the command ends with 1.

`python -m benchmarks.soak --kills 50 --steps 150` on one core of a CPU, with a tmpfs of 6 MiB as
the disk that was full: of 65 strikes on 12 runs none broke a promise. It printed, besides the lines
that named the faults:

    fault                     times  recovered  steps lost at most  bit-identical
    NaN in a batch                2          2                   8  1 of 1 runs
    data file gone                2          2                   0  1 of 1 runs
    disk full                     4          4                  18  1 of 1 runs
    SIGTERM                       3          3                   0  1 of 1 runs
    checkpoint bytes flipped      4          4                  16  1 of 1 runs
    kill -9                      50         50                  16  7 of 7 runs

    kills hit: start-up 4, compile 6, steps 8, save 27, evaluation 5

A save takes as long as several of these small steps, so more than 10 of them can be lost.
"""

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from benchmarks.ldct.arguments import Parser, output, positive, whole
from benchmarks.soak import faults, tally
from benchmarks.soak.session import environment
from benchmarks.soak.state import SAVE_EVERY, Soak
from medjax.errors import UserError
from medjax.io.common import atomic


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=positive, default=50, help="with -9 (50)")
    parser.add_argument("--steps", type=positive, default=150, help="of each run (150)")
    parser.add_argument("--seed", type=whole, default=0, help="of the random moments (0)")
    parser.add_argument("--out", type=output, help="JSON with every strike")
    parser.add_argument("--keep", type=Path, help="keep run folders and what was said here")
    try:
        options = parser.parse_args(args)
        _check(options)
        return soak(options)
    except UserError as error:
        sys.stderr.write(f"benchmarks.soak: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("benchmarks.soak: stopped\n")
        return 130


def _check(options: argparse.Namespace) -> None:
    if options.steps < 5 * SAVE_EVERY:
        raise UserError(f"--steps {options.steps}: give {5 * SAVE_EVERY} or more, for five saves")
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        raise UserError(f"--keep {options.keep}: is not empty; give a new folder")


def soak(options: argparse.Namespace) -> int:
    """Strikes, prints and writes; 1 where a promise broke."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="medjax-soak-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    soaked = Soak(folder, options.steps, environment(folder))
    begin = time.monotonic()
    # Ended from outside, it must not leave sessions or a small disk behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Orbax warns of folders inside a checkpoint that have no metadata of their own.
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        _strike(soaked, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    rows = tally.tally(soaked.strikes, soaked.endings)
    console.print(tally.table(rows))
    for row in rows:
        if row.fault == faults.KILL:
            hit = ", ".join(f"{phase} {count}" for phase, count in row.phases.items())
            console.print(f"kills hit: {hit}")
    broken = tally.broken(soaked.strikes, soaked.endings)
    for line in broken:
        console.print(f"broken: {line}", markup=False)
    many = f"{len(soaked.strikes)} strikes, {time.monotonic() - begin:.0f} s"
    console.print(f"{many}: {f'{len(broken)} promises broken' if broken else 'nothing lost'}")
    if options.out:
        settings = {name: getattr(options, name) for name in ("kills", "steps", "seed")}
        settings |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
        with atomic(options.out) as temporary:
            temporary.write_text(json.dumps(tally.as_json(soaked, settings), indent=1))
        console.print(f"wrote {options.out}")
    return 1 if broken else 0


def _strike(soaked: Soak, options: argparse.Namespace) -> None:
    draw = random.Random(options.seed)
    _tell("the undisturbed run")
    soaked.uninterrupted()
    pace = soaked.pace
    whole_run = sum(pace.values())
    part = whole_run - pace.get("evaluation", 0.0)
    seconds = (options.kills + 17) * part + (options.kills / 6 + 12) * whole_run
    _tell(f"one run takes {whole_run:.0f} s; all of this at most {seconds / 60:.0f} minutes")
    faults.spoilt(soaked, draw, times=2)
    _tell("NaN in a batch: done")
    faults.vanished(soaked, draw)
    _tell("data file gone: done")
    _tell(f"disk full by {faults.filled(soaked, draw, times=4)}: done")
    faults.terminated(soaked, draw, times=3)
    _tell("SIGTERM: done")
    faults.flipped(soaked, draw, times=4)
    _tell("checkpoint bytes flipped: done")
    faults.kills(soaked, options.kills, options.seed, _tell)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
