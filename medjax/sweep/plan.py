"""Plan: what a sweep searches, for what, and the experiment of each of its settings."""

import dataclasses
import difflib
import functools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax import build
from medjax.data import catalog
from medjax.errors import UserError
from medjax.experiment import Experiment, deciding, find, from_dict, load, to_dict
from medjax.io.common import atomic
from medjax.metrics.column import Column
from medjax.sweep import space
from medjax.sweep.space import Choice, Range, Settings
from medjax.train.record import check_identity

PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
      source: the experiment as a user names it: a published name or a Python file.
      setting: "cpu" or "full".
      words: the options for every trial as typed, to be shown in commands.
      overrides: what they set, by dotted field names.
      choices: fields with listed values.
      ranges: numbers to search; with none, every combination of the choices is tried.
      trials: settings to try.
      metric: the column of the task's table that is compared.
      split: the scans it is measured on.
    """

    source: str
    setting: str
    words: tuple[str, ...]
    overrides: Mapping[str, Any]
    choices: tuple[Choice, ...]
    ranges: tuple[Range, ...]
    trials: int
    metric: str
    split: str

    @functools.cached_property
    def base(self) -> Experiment:
        """The experiment with what all trials share."""
        return space.replaced(load(find(self.source), self.setting), self.overrides)

    @property
    def fields(self) -> tuple[str, ...]:
        """The dotted names of what is varied."""
        return tuple(varied.field for varied in (*self.choices, *self.ranges))

    def experiment(self, settings: Settings) -> Experiment:
        """The experiment of one setting.

        Raises:
          UserError: the experiment refuses the values.
        """
        choices = {choice.field: choice for choice in self.choices}
        values = {
            field: choices[field].value(value) if field in choices else value
            for field, value in settings.items()
        }
        try:
            return space.replaced(self.base, values)
        except ValueError as error:
            raise UserError(f"{_said(settings)}: {error}") from error

    def command(self, settings: Settings) -> str:
        """The command line that trains one setting."""
        head = ["medjax", "train", self.source, "--setting", self.setting, *self.words]
        words = [word for item in settings.items() for word in option(self.base, *item)]
        return shlex.join([*head, *words])


def option(experiment: Experiment, field: str, value: str | float | int) -> list[str]:
    """The words that set a field on the command line of `medjax train`."""
    text = str(value)
    held = space.leaves(experiment)[field.replace("-", "_")]
    if isinstance(held, bool) and text.lower() in ("true", "false"):
        group, dot, name = field.rpartition(".")
        return [f"--{group}{dot}{name if text.lower() == 'true' else f'no-{name}'}"]
    return [f"--{field}", *shlex.split(text)]


def identity(plan: Plan) -> dict[str, Any]:
    """What must stay the same for a sweep to go on; more trials may be asked for."""
    chosen = deciding(plan.base)
    return {
        "experiment": {k: v for k, v in chosen.items() if k not in ("kind", "summary", "keep")},
        "grid": {choice.field: list(choice.texts) for choice in plan.choices},
        "range": {r.field: [r.low, r.high, "log" if r.log else "linear"] for r in plan.ranges},
        "metric": plan.metric,
        "split": plan.split,
    }


def keep(plan: Plan, folder: Path) -> None:
    """Writes the plan into the sweep's folder.

    Raises:
      UserError: another sweep lives there.
    """
    wanted = {"identity": identity(plan), "plan": to_dict(plan)}
    path = folder / PLAN
    if path.exists():
        check_identity(folder, _read(path)["identity"], json.loads(json.dumps(wanted["identity"])))
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2))


def read(folder: Path) -> Plan:
    """The plan of a sweep's folder.

    Raises:
      UserError: the folder holds no sweep.
    """
    plan = from_dict(_read(folder / PLAN)["plan"])
    if not isinstance(plan, Plan):
        raise UserError(f"{folder / PLAN}: holds no sweep; choose another run folder")
    return plan


def check(plan: Plan) -> None:
    """Finds what would stop the trials, before any of them starts.

    Raises:
      UserError: a value that the experiment refuses, a metric that the task does not measure, a
        dataset without the split.
    """
    column(plan)
    lows: Settings = {r.field: r.low for r in plan.ranges}
    tried = [{**lows, **chosen} for chosen in space.grid(plan.choices)]
    tried += [{**tried[0], r.field: r.high} for r in plan.ranges]
    for settings in tried:
        experiment = plan.experiment(settings)
        space.check_counts(experiment)
        try:
            build.method_of(experiment)
        except ValueError as error:
            raise UserError(f"{_said(settings)}: {error}") from error
    for name in {plan.experiment(settings).data.name for settings in tried}:
        _check_data(plan, name)


def _check_data(plan: Plan, name: str) -> None:
    dataset = catalog.load(name)
    if not len(dataset.splits.get(plan.split, ())):
        raise UserError(
            f"dataset {name}: has no {plan.split!r} scans to choose settings on, only "
            f"{', '.join(dataset.splits)}; hold some back: medjax data prepare FOLDER "
            "--name OWN --valid 0.1"
        )
    plan.base.task.check(dataset.split(plan.split)[0])


def column(plan: Plan) -> Column:
    """The column of the task's table that the plan compares.

    Raises:
      UserError: the task has no such column, or none of its values is better than another.
    """
    columns = {c.key: c for c in plan.base.task.columns if c.better is not None}
    if plan.metric not in columns:
        near = difflib.get_close_matches(plan.metric, columns, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"it measures {', '.join(columns)}"
        raise UserError(f"--metric {plan.metric}: the task does not measure it; {hint}")
    return columns[plan.metric]


def _said(settings: Settings) -> str:
    return ", ".join(f"{field}={value}" for field, value in settings.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); choose another run folder"
        ) from error
