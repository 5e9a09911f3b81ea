"""medjax profile: where the time of an experiment's training step goes."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from medjax.cli.common import parse, writable
from medjax.cli.train import setting_of
from medjax.errors import UserError
from medjax.heap import take_large_anew

if TYPE_CHECKING:
    from medjax import profiling

SHOWN = 10


def run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: medjax profile EXPERIMENT [--setting cpu|full] [--steps 5] [--out FOLDER] "
            "[--FIELD VALUE]\n\n"
            "EXPERIMENT is a name of `medjax list` or a path to a Python file. To see every field\n"
            "with its unit and default: medjax profile EXPERIMENT --help\n"
        )
        return 0
    from medjax import build, experiment, profiling
    from medjax.sweep.space import check_counts

    path = experiment.find(args[0])

    @dataclasses.dataclass(frozen=True)
    class Profile:
        """Trains a few steps of an experiment and says which operations they spend their time on.

        Nothing is saved but the trace, for TensorBoard or Perfetto.

        Attributes:
          steps: that are traced, after a few to warm up.
          out: folder for the trace; profiles/EXPERIMENT if not given.
          setting: cpu (minutes on 2 cores) or full (accelerators); if not given, what fits.
        """

        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]
        steps: int = 5
        out: Path | None = None
        setting: str | None = None

    setting = setting_of(args[1:])
    default = Profile(experiment.load(path, setting), setting=setting)
    chosen = parse(Profile, args[1:], f"medjax profile {args[0]}", default)
    if chosen.steps < 1:
        raise UserError(f"--steps {chosen.steps}: must be at least 1")
    folder = chosen.out or Path("profiles") / chosen.what.name
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out names a folder")
    writable(folder)
    check_counts(chosen.what)
    try:
        build.method_of(chosen.what)
    except ValueError as error:
        raise UserError(f"{error}; medjax profile {args[0]} --help shows every field") from error
    take_large_anew()
    found = profiling.profile(chosen.what, folder, chosen.steps)
    Console(width=None if sys.stdout.isatty() else 140).print(_table(found, chosen.what.name))
    trace = profiling.newest_trace(folder)
    sys.stdout.write(
        f"a step takes {found.step_milliseconds:.4g} ms ({chosen.steps} traced, tracing included); "
        f"its operations add up to {found.work:.4g} ms\n"
        f"no operation ran in {found.idle:.1%} of the time; in {found.input:.1%} the device waited "
        "for input (aim: less than 5 %)\n"
        f"wrote {trace}\n"
        f"next: open {trace.parent}/*.trace.json.gz in ui.perfetto.dev, or "
        f"pip install xprof and xprof --logdir {folder}\n"
    )
    return 0


def _table(found: "profiling.Profile", name: str) -> Table:
    table = Table(
        *("operation", "layer or line", "share (%)", "ms a step", "calls a step"),
        title=f"{name}: the {SHOWN} most expensive operations; share of all operations' time",
    )
    for row in found.rows[:SHOWN]:
        numbers = (f"{100 * row.share:.1f}", f"{row.milliseconds:.3f}", f"{row.calls:g}")
        table.add_row(row.what, row.where, *numbers)
    rest = found.rows[SHOWN:]
    if rest:
        share, ms = sum(r.share for r in rest), sum(r.milliseconds for r in rest)
        table.add_row(f"{len(rest)} others", "", f"{100 * share:.1f}", f"{ms:.3f}", "")
    return table
