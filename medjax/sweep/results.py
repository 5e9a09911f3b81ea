"""What a sweep found: sweep.json, the table on the terminal, the command of the best setting."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from medjax.experiment import to_dict
from medjax.io.common import atomic
from medjax.metrics.column import Column
from medjax.report.table import DASH, format_value
from medjax.sweep.plan import Plan, column
from medjax.sweep.study import TRIALS, Setting

RESULTS = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Found:
    """A sweep's settings, best first, then those without a result.

    Attributes:
      plan: what was searched.
      folder: where.
      settings: sorted.
      columns: the task's, the compared one first.
    """

    plan: Plan
    folder: Path
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]

    @property
    def best(self) -> Setting | None:
        """The best setting, or None where none is done."""
        first = next(iter(self.settings), None)
        return first if first is not None and first.objective is not None else None

    @property
    def best_folder(self) -> Path | None:
        """The run folder of the best setting."""
        return None if self.best is None else self.folder / TRIALS / self.best.number

    @property
    def note(self) -> str:
        """What a reader needs to read the numbers right."""
        plan = self.plan
        where = f"Measured on the {plan.split!r} scans of {plan.base.data.name}"
        if plan.split == "test":
            return (
                f"{where}: settings chosen on these scans make their numbers too good; judge the "
                "chosen one on others."
            )
        return f"{where}, which no setting was trained on; the test scans were not looked at."


def find(plan: Plan, folder: Path, settings: Sequence[Setting]) -> Found:
    """The settings in the order of their worth."""
    first = column(plan)
    sign = -1.0 if first.better == "high" else 1.0

    def worth(setting: Setting) -> tuple[bool, float, int]:
        value = setting.objective
        return value is None, 0.0 if value is None else sign * value, int(setting.number)

    others = (c for c in plan.base.task.columns if c != first)
    return Found(plan, folder, tuple(sorted(settings, key=worth)), (first, *others))


def write(found: Found) -> Path:
    """Writes sweep.json, whole or not at all."""
    plan, best = found.plan, found.best
    data = {
        "metric": plan.metric,
        "better": found.columns[0].better,
        "split": plan.split,
        "note": found.note,
        "best": None
        if best is None
        else {
            "number": best.number,
            "settings": dict(best.settings),
            "command": plan.command(best.settings),
        },
        "settings": [_plain(dataclasses.asdict(setting)) for setting in found.settings],
        "experiment": to_dict(plan.base),
    }
    path = found.folder / RESULTS
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2, allow_nan=False))
    return path


def table(found: Found) -> Table:
    """For `rich.console.Console.print`: the best setting in bold green."""
    shown = Table(title=escape(heading(found)), caption=escape(found.note))
    for name in ("run", *found.plan.fields, *(c.heading for c in found.columns), ""):
        shown.add_column(escape(name), justify="right")
    for setting in found.settings:
        style = "bold green" if setting == found.best else None
        cells = [setting.number, *values(found, setting), remark(setting)]
        shown.add_row(*map(escape, cells), style=style)
    return shown


def heading(found: Found) -> str:
    """What was searched, in a line."""
    done = sum(s.objective is not None for s in found.settings)
    return f"Sweep of {found.plan.base.name} by {found.columns[0].title}: {done} settings"


def values(found: Found, setting: Setting) -> list[str]:
    """A setting's cells: its varied fields, then the task's columns."""
    chosen = [
        number(setting.settings[f]) if f in setting.settings else DASH for f in found.plan.fields
    ]
    return [*chosen, *(format_value(c, setting.values.get(c.key)) for c in found.columns)]


def number(value: str | float | int) -> str:
    """A varied field's value for reading; the command has all digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def remark(setting: Setting) -> str:
    """Why a setting has no result, or ""."""
    if setting.status == "done":
        return ""
    if setting.status == "lost":
        return "lost: its worker died again and again; see logs"
    return setting.problem or setting.status


def _plain(value: Any) -> Any:
    """Without what strict JSON lacks: numbers that are not finite become words."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
