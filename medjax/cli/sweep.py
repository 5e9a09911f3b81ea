"""medjax sweep: many settings of an experiment, the best of them by the validation scans."""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from medjax.cli.common import parse, run_folder
from medjax.cli.train import setting_of
from medjax.errors import UserError

if TYPE_CHECKING:
    from medjax.experiment import Experiment
    from medjax.sweep.crew import Standing
    from medjax.sweep.plan import Plan
    from medjax.sweep.results import Found

_log = logging.getLogger(__name__)
LINE_SECONDS = 30.0
LOGS = "logs"
USAGE = """usage: medjax sweep EXPERIMENT --grid FIELD=V1,V2,... [OPTIONS] [--FIELD VALUE]

Trains an experiment in many settings and compares them on the validation scans.
FIELD is any that `medjax train EXPERIMENT --help` shows; --FIELD VALUE counts for all settings.

  --grid FIELD=V1,V2,...        these values; several grids are combined in every way
  --range FIELD=LOW:HIGH[:log]  numbers in between, searched (TPE) with --trials settings
  --trials N                    settings to try where there is a range (20)
  --workers N                   processes that train at the same time (1)
  --metric NAME                 column of the results to compare by (psnr)
  --split NAME                  scans to compare on (valid); never choose on test
  --run FOLDER                  folder of the sweep (runs/EXPERIMENT-sweep)
  --setting cpu|full            as for train

The weights of a cGAN, as in a grid search of its article (only their ratio matters):

  medjax sweep ldct_cgan --grid method.weights.adversarial=0.001,0.01,0.1

Stopped or killed, it goes on when the same command is given again.
"""


def run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if importlib.util.find_spec("optuna") is None:
        raise UserError("medjax sweep needs Optuna: pip install 'medjax[sweep]'")
    # Several workers share an accelerator; none may take all of its memory at its start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from medjax.sweep import crew, page, plan, results, study
    from medjax.train.interrupt import exclusive

    what, folder, workers = _plan(args)
    run_folder(folder)
    plan.check(what)
    with exclusive(folder):
        plan.keep(what, folder)
        with _progress(what, folder) as report:
            finished = crew.sweep(
                what, folder, workers, pin=jax.default_backend() == "cpu", report=report
            )
        found = results.find(what, folder, study.listed(study.open_study(what, folder)))
        next_steps = _next_steps(found)
        written = results.write(found), page.write(found, list(next_steps.values()))
    Console(width=None if sys.stdout.isatty() else 140).print(results.table(found))
    sys.stdout.write(f"wrote {written[0]} and {written[1]}\n")
    if not finished:
        go_on = shlex.join(["medjax", "sweep", *args])
        sys.stdout.write(f"stopped; all is saved in {folder}\nnext, to go on: {go_on}\n")
        return 0
    sys.stdout.write("".join(f"next, {aim}: {step}\n" for aim, step in next_steps.items()))
    return 0 if found.best is not None else 1


def _plan(args: Sequence[str]) -> "tuple[Plan, Path, int]":
    from medjax import experiment
    from medjax.sweep import space
    from medjax.sweep.plan import Plan

    source, setting = args[0], setting_of(args[1:])
    base = experiment.load(experiment.find(source), setting)

    @dataclasses.dataclass(frozen=True)
    class Sweep:
        """Trains an experiment in many settings and compares them on the validation scans.

        A sweep that was stopped goes on when the same command is given.

        Attributes:
          grid: FIELD=V1,V2,...: these values; several grids are combined in every way.
          range: FIELD=LOW:HIGH or FIELD=LOW:HIGH:log: numbers in between, searched by TPE.
          trials: settings to try where there is a range.
          workers: processes that train at the same time.
          metric: column of the results to compare by.
          split: scans to compare on; never choose on test.
          run: folder of the sweep; runs/EXPERIMENT-sweep if not given.
          setting: cpu (minutes on 2 cores) or full (accelerators); if not given, what fits.
        """

        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]
        grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
        range: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
        trials: int | None = None
        workers: int = 1
        metric: str = "psnr"
        split: str = "valid"
        run: Path | None = None
        setting: str | None = None

    prog = f"medjax sweep {source}"
    chosen = parse(Sweep, args[1:], prog, Sweep(base, setting=setting))
    shared = chosen.what
    before, after = space.leaves(base), space.leaves(shared)
    choices = tuple(
        space.parse_choice(shared, text, lambda *item: _value(shared, prog, *item))
        for text in chosen.grid
    )
    ranges = tuple(space.parse_range(shared, text) for text in chosen.range)
    what = Plan(
        source=source,
        setting=setting,
        words=_shared_words(args[1:]),
        overrides={field: value for field, value in after.items() if before[field] != value},
        choices=choices,
        ranges=ranges,
        trials=20 if chosen.trials is None else chosen.trials,
        metric=chosen.metric,
        split=chosen.split,
    )
    _check(what, chosen.trials, chosen.workers)
    return what, chosen.run or Path("runs") / f"{shared.name}-sweep", chosen.workers


def _check(what: "Plan", trials: int | None, workers: int) -> None:
    if not what.fields:
        raise UserError("sweep: say what to vary: --grid FIELD=V1,V2,... or --range ...")
    if len(set(what.fields)) < len(what.fields):
        twice = next(f for f in what.fields if what.fields.count(f) > 1)
        raise UserError(f"{twice}: is varied twice; name it once")
    if what.ranges == () and trials is not None:
        raise UserError("--trials: a grid is tried whole; leave it out, or search a --range")
    if what.trials < 1 or workers < 1:
        raise UserError("--trials and --workers: must be at least 1")


def _value(shared: "Experiment", prog: str, field: str, text: str) -> Any:
    """What the experiment holds where a user types `text` for `field`."""
    from medjax import experiment
    from medjax.sweep import plan, space

    @dataclasses.dataclass(frozen=True)
    class Holder:
        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]

    read = parse(Holder, plan.option(shared, field, text), prog, Holder(shared))
    return space.leaves(read.what)[field]


def _shared_words(args: Sequence[str]) -> tuple[str, ...]:
    """The options that `medjax train` knows too, as typed."""
    own = ("--grid", "--range", "--trials", "--workers", "--metric", "--split", "--run")
    words: list[str] = []
    ours = False
    for word in args:
        if word.startswith("--"):
            name = word.partition("=")[0]
            ours = name in (*own, "--setting")
            if not ours:
                words.append(word)
        elif not ours:
            words.append(word)
    return tuple(words)


def _next_steps(found: "Found") -> dict[str, str]:
    if found.best is None:
        return {"to see why": f"less {found.folder / LOGS}/*"}
    train = found.plan.command(found.best.settings)
    run = shlex.quote(str(found.best_folder))
    return {
        # A finished run is not trained again, so this goes straight to the test scans.
        "the best setting on the test scans": f"{train} --run {run}",
        "to train it anew": train,
    }


@contextlib.contextmanager
def _progress(what: "Plan", folder: Path) -> "Iterator[Callable[[Standing], None]]":
    """A bar on a terminal, else a line now and then and whenever a setting ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, folder)
        return
    columns = (TextColumn("settings"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting")

        def show(now: "Standing") -> None:
            said = _said(now, what, folder)
            bar.update(task, completed=now.work, total=now.total, description=said)

        yield show


def _lines(what: "Plan", folder: Path) -> "Callable[[Standing], None]":
    ended, said_at = -1, 0.0

    def show(now: "Standing") -> None:
        nonlocal ended, said_at
        if now.ended != ended or time.monotonic() - said_at > LINE_SECONDS:
            ended, said_at = now.ended, time.monotonic()
            _log.info("settings %s", _said(now, what, folder))

    return show


def _said(now: "Standing", what: "Plan", folder: Path) -> str:
    from medjax.report.table import format_value
    from medjax.sweep import results

    count = Counter(setting.status for setting in now.settings)
    parts = [f"{now.ended}/{now.total} ended"]
    parts += [f"{count[s]} {s}" for s in ("running", "failed", "lost") if count[s]]
    found = results.find(what, folder, now.settings)
    if found.best is not None:
        column = found.columns[0]
        value = format_value(column, found.best.values[column.key])
        parts.append(f"best {column.title} {value} {column.unit} (run {found.best.number})")
    if now.seconds_left is not None:
        minutes, seconds = divmod(round(now.seconds_left), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left")
    return "  ".join(parts)
