"""medjax evaluate: the table of a trained run, on its held-out scans."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from medjax.cli.common import parse

if TYPE_CHECKING:
    from medjax.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Restores the held-out scans again and writes results.json and report.html.

    Attributes:
      run: a run folder that train made.
      experiment: the Python file it was trained from, where that defines networks, losses or
        tasks of its own; they are run as code, so only a file that you trust.
      setting: cpu or full, of that file.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    experiment: Annotated[Path | None, tyro.conf.arg(metavar="FILE.py")] = None
    setting: str = "cpu"


def run(args: Sequence[str]) -> int:
    from medjax import experiment

    chosen = parse(Evaluate, args, "medjax evaluate")
    given = chosen.experiment
    return judge(chosen.run, given and experiment.load(given, chosen.setting))


def judge(folder: Path, experiment: "Experiment | None" = None) -> int:
    """Evaluates a run and shows the table, the verdict and what was written."""
    from medjax import run
    from medjax.report.table import to_rich
    from medjax.report.verdict import verdict

    trained = run.open_run(folder, experiment)
    sys.stderr.write("evaluating on the held-out scans\n")
    results = run.evaluate(folder, trained)
    Console(width=None if sys.stdout.isatty() else 140).print(to_rich(results))
    sys.stdout.write(f"{verdict(results, trained.experiment.method.label)}\n")
    if pace := run.read_pace(folder):
        sys.stdout.write(
            f"trained {trained.step} steps at {pace['step_seconds'] * 1e3:.0f} ms a step, "
            f"{pace['images_per_second']:.0f} images/s on {pace['device']}\n"
        )
    sys.stdout.write(
        "Research use only, not for diagnosis.\n"
        f"wrote {folder / run.RESULTS} and {folder / run.REPORT}\n"
        f"next: open {folder / run.REPORT} in a browser, or "
        f"medjax restore {folder} INPUT OUTPUT\n"
    )
    return 0
