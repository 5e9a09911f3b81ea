"""medjax train: an experiment from its data to a table of held-out results."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from medjax.cli.common import parse, run_folder
from medjax.cli.evaluate import judge
from medjax.errors import UserError


def run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: medjax train EXPERIMENT [--run FOLDER] [--setting cpu|full] [--FIELD VALUE]\n"
            "                               [--distributed auto|HOST:PORT,INDEX/COUNT]\n\n"
            "EXPERIMENT is a name of `medjax list` or a path to a Python file. To see every field\n"
            "with its unit and default: medjax train EXPERIMENT --help\n"
        )
        return 0
    place = _given(args[1:], "--distributed")
    if place is None:
        return _train(args)
    from medjax.train import processes

    # Before anything asks JAX for a device.
    with processes.Joined(place):
        return _train(args)


def _train(args: Sequence[str]) -> int:
    from medjax import build, experiment, levels, seen
    from medjax import run as runs
    from medjax.sweep.space import check_counts
    from medjax.train import processes

    path = experiment.find(args[0])
    setting = setting_of(args[1:])

    @dataclasses.dataclass(frozen=True)
    class Train:
        """Trains an experiment, evaluates it on held-out scans and writes a report.

        A run that was stopped goes on from its last checkpoint when the same command is given.
        Several processes, one a machine or GPU, train one run when each is given --distributed and
        the same run folder; launch/ has recipes.

        Attributes:
          run: folder for everything the run writes; runs/EXPERIMENT if not given.
          setting: cpu (minutes on 2 cores) or full (accelerators); if not given, what fits.
          distributed: auto under SLURM, Open MPI or on TPU pods; else HOST:PORT,INDEX/COUNT: where
            process 0 listens, which process this is, of how many.
        """

        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]
        run: Path | None = None
        setting: str | None = None
        distributed: str | None = None

    default = Train(experiment.load(path, setting), setting=setting)
    chosen = parse(Train, args[1:], f"medjax train {args[0]}", default)
    folder = chosen.run or Path("runs") / chosen.what.name
    run_folder(folder)
    check_counts(chosen.what)
    try:
        build.method_of(chosen.what)
    except ValueError as error:
        raise UserError(f"{error}; medjax train {args[0]} --help shows every field") from error
    result = runs.train(chosen.what, folder)
    if chosen.distributed is not None:
        processes.part()
    if not processes.first():
        return 0
    seen.keep(folder, chosen.what.data.name, *levels.trained_on(chosen.what))
    if result.interrupted:
        sys.stdout.write(
            f"stopped after step {result.step} of {chosen.what.schedule.steps}; all is saved in "
            f"{folder}\nnext, to go on: {shlex.join(['medjax', 'train', *args])}\n"
        )
        return 0
    if result.step_seconds is not None:
        runs.write_pace(folder, result)
    return judge(folder, chosen.what)


def setting_of(args: Sequence[str]) -> str:
    """The setting that `--setting` names, or that fits the device.

    Raises:
      UserError: there is no such setting.
    """
    from medjax import experiment

    given = _given(args, "--setting")
    if given is None:
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "full"
    if given not in experiment.SETTINGS:
        raise UserError(f"--setting {given}: must be one of {', '.join(experiment.SETTINGS)}")
    return given


def _given(args: Sequence[str], option: str) -> str | None:
    """The value of an option that is needed before all of them can be read."""
    given = None
    for i, word in enumerate(args):
        name, _, value = word.partition("=")
        if name == option:
            given = value or " ".join(args[i + 1 : i + 2])
    return given
