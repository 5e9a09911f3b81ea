"""The command line: medjax train | evaluate | restore | list | data list | data prepare."""

import contextlib
import dataclasses
import io
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medjax.errors import UserError

T = TypeVar("T")

HELP = """usage: medjax COMMAND [OPTIONS]

Medical image restoration in JAX. Research use, not for diagnosis.

  medjax list                         the experiments, a line each
  medjax train EXPERIMENT             trains, evaluates and reports; goes on where it stopped
  medjax evaluate RUN                 the table of a trained run again
  medjax restore RUN INPUT OUTPUT     restores a DICOM file or folder, NIfTI, picture or npz
  medjax data list                    the datasets with licence and size
  medjax data prepare FOLDER --name N makes a dataset of your own scans

medjax COMMAND --help tells more. Start with: medjax train quickstart
"""


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Makes a dataset from a folder of DICOM, NIfTI or pictures, split by patient.

    Attributes:
      folder: every scan below it is taken; bad files are named and left out.
      name: the dataset's name, for `medjax train EXPERIMENT --data NAME`.
      dims: 2 for slices, 3 for whole volumes.
      test: fraction of the patients held out for testing.
      valid: fraction of the patients held out for choosing settings.
      licence: what `medjax data list` shows as the scans' licence.
      split_slices: where there is one patient only, test on a block of its slices.
      modality: of files that do not say (NIfTI, npz): CT means that values are HU.
      window: the HU that black and white of pictures stand for, e.g. -160 240.
      pixel_mm: side of a pixel in mm, of files that do not say (pictures).
      seed: of the split.
    """

    folder: tyro.conf.Positional[Path]
    name: str
    dims: int = 2
    test: float = 0.2
    valid: float = 0.0
    licence: str = "unknown"
    split_slices: bool = False
    modality: str | None = None
    window: tuple[float, float] | None = None
    pixel_mm: float | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Restores the held-out scans again and writes results.json and report.html.

    Attributes:
      run: a run folder that train made.
    """

    run: tyro.conf.Positional[Path]


@dataclasses.dataclass(frozen=True)
class Restore:
    """Restores scans with a trained run. Geometry, units and identity are kept.

    DICOM results are marked DERIVED with new instance UIDs; the input is never touched.

    Attributes:
      run: a run folder that train made.
      input: a DICOM file or a folder with one series, NIfTI, PNG, TIFF or npz.
      output: the file (or, for a DICOM folder, the folder) to write; must not exist yet.
      modality: of files that do not say (NIfTI, npz): CT means that values are HU.
      window: the values that a picture's black and white stand for, e.g. -160 240 (HU): of the
        input if that is a picture, else of the output.
    """

    run: tyro.conf.Positional[Path]
    input: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    modality: str | None = None
    window: tuple[float, float] | None = None


def main() -> None:
    """Entry point: runs one command; bad input ends in one line and exit code 2."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    _quiet()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("medjax").setLevel(logging.INFO)
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    words = 2 if args[0] == "data" else 1
    name, rest = " ".join(args[:words]), list(args[words:])
    if name in ("data", "data -h", "data --help"):
        sys.stdout.write(HELP)
        return 0
    try:
        if name not in COMMANDS:
            raise UserError(f"{name}: medjax has no such command; medjax --help lists them")
        return COMMANDS[name](rest)
    except UserError as error:
        sys.stderr.write(f"medjax: {error}\n")
        return 2


def _quiet() -> None:
    """Third parties' start-up chatter hides our one clear line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """tyro's parser with its boxed errors cut to one line.

    Raises:
      UserError: the arguments do not fit; the nearest option is offered.
    """
    shown = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(
                kind, args=list(args), prog=prog, config=(tyro.conf.AvoidSubcommands,), **options
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UserError(f"{_one_line(shown.getvalue())}; {prog} --help lists all options")


def _one_line(boxed: str) -> str:
    lines = [re.sub(r"[│╭╮╰╯]", " ", line).strip() for line in boxed.splitlines()]
    lines = [line for line in lines if line and not re.fullmatch(r"[─ ].*─|─+", line)]
    said: list[str] = []
    for line in lines:
        if line.startswith(("Perhaps you meant", "Argument helptext", "For full helptext")):
            break
        said.append(line)
    near = next((n for n in lines[len(said) + 1 :] if n.startswith("--")), None)
    offered = f"; did you mean {near.split(',')[0]}?" if near and "Perhaps" in boxed else ""
    return " ".join(said).rstrip(".") + offered


# Commands


def _list(args: Sequence[str]) -> int:
    from medjax import experiment

    parse(_NoOptions, args, "medjax list")
    table = Table("experiment", "what it does", box=None, header_style="bold")
    for name, path in experiment.published().items():
        table.add_row(name, experiment.load(path, "full").summary)
    Console().print(table)
    sys.stdout.write("\nnext: medjax train EXPERIMENT (--help shows every field)\n")
    return 0


@dataclasses.dataclass(frozen=True)
class _NoOptions:
    """Lists what there is; takes no options."""


def _train(args: Sequence[str]) -> int:
    from medjax import experiment, run

    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: medjax train EXPERIMENT [--run FOLDER] [--setting cpu|full] [--FIELD VALUE]\n\n"
            "EXPERIMENT is a name of `medjax list` or a path to a Python file. To see every field\n"
            "with its unit and default: medjax train EXPERIMENT --help\n"
        )
        return 0
    path = experiment.find(args[0])
    setting = _setting(args[1:])

    @dataclasses.dataclass(frozen=True)
    class Train:
        """Trains an experiment, evaluates it on held-out scans and writes a report.

        A run that was stopped goes on from its last checkpoint when the same command is given.

        Attributes:
          run: folder for everything the run writes; runs/EXPERIMENT if not given.
          setting: cpu (minutes on 2 cores) or full (accelerators); if not given, what fits.
        """

        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]
        run: Path | None = None
        setting: str | None = None

    default = Train(experiment.load(path, setting), setting=setting)
    chosen = parse(Train, args[1:], f"medjax train {args[0]}", default)
    folder = chosen.run or Path("runs") / chosen.what.name
    result = run.train(chosen.what, folder)
    if result.interrupted:
        sys.stdout.write(
            f"stopped after step {result.step} of {chosen.what.schedule.steps}; all is saved in "
            f"{folder}\nnext, to go on: {shlex.join(['medjax', 'train', *args])}\n"
        )
        return 0
    if result.step_seconds is not None:
        run.write_pace(folder, result)
    return _judge(folder)


def _judge(folder: Path) -> int:
    """Evaluates a run and shows the table, the verdict and what was written."""
    from medjax import run
    from medjax.report.table import to_rich
    from medjax.report.verdict import verdict

    sys.stderr.write("evaluating on the held-out scans\n")
    trained = run.open_run(folder)
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


def _setting(args: Sequence[str]) -> str:
    from medjax import experiment

    given = None
    for i, word in enumerate(args):
        name, _, value = word.partition("=")
        if name == "--setting":
            given = value or " ".join(args[i + 1 : i + 2])
    if given is None:
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "full"
    if given not in experiment.SETTINGS:
        raise UserError(f"--setting {given}: must be one of {', '.join(experiment.SETTINGS)}")
    return given


def _evaluate(args: Sequence[str]) -> int:
    return _judge(parse(Evaluate, args, "medjax evaluate").run)


def _restore(args: Sequence[str]) -> int:
    from medjax import run
    from medjax.restore import restore_file

    chosen = parse(Restore, args, "medjax restore")
    if not chosen.input.exists():
        raise UserError(f"{chosen.input}: no such file or folder; check the path")
    trained = run.open_run(chosen.run)
    with _bar("restoring") as progress:
        written = restore_file(
            trained.restore,
            trained.experiment.task,
            chosen.input,
            chosen.output,
            description=f"{trained.experiment.method.label} {trained.experiment.name}",
            modality=chosen.modality,
            window=chosen.window,
            progress=progress,
        )
    sys.stdout.write(
        f"wrote {chosen.output} ({len(written)} {'file' if len(written) == 1 else 'files'})\n"
        "A restored image can mislead: research use only, not for diagnosis.\n"
        "next: compare it with the input in your viewer, at the same window\n"
    )
    return 0


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the estimated end on standard error."""
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _data_list(args: Sequence[str]) -> int:
    from medjax.data import catalog

    parse(_NoOptions, args, "medjax data list")
    table = Table("dataset", "scans", "unit", "size", "licence", "source", box=None)
    for info in catalog.available():
        counts = ", ".join(f"{n} {split}" for split, n in info.counts.items())
        size = f"{info.bytes / 1e6:.1f} MB" if info.bytes else "not built yet"
        unit = info.unit or "-"
        table.add_row(
            info.name, f"{info.modality}: {counts}", unit, size, info.licence, info.source
        )
    Console().print(table)
    return 0


def _data_prepare(args: Sequence[str]) -> int:
    from medjax.data import folder

    chosen = parse(Prepare, args, "medjax data prepare")
    with _bar("reading scans") as progress:
        report = folder.prepare(**dataclasses.asdict(chosen), progress=progress)
    for problem in report.problems:
        sys.stderr.write(f"left out: {problem}\n")
    counts = ", ".join(f"{n} {split}" for split, n in report.info.counts.items())
    sys.stdout.write(f"wrote dataset {report.info.name}: {counts}\nnext: {report.next_step}\n")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "restore": _restore,
    "list": _list,
    "data list": _data_list,
    "data prepare": _data_prepare,
}
