"""What a run logged: metrics.jsonl to curves."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medjax.errors import UserError

_NOT_CURVES = frozenset({"step", "epoch", "time", "wall_time", "seconds", "timestamp"})


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric over the steps.

    Attributes:
      name: as in metrics.jsonl, for example "train/l1".
      steps: increasing.
      values: as logged; may hold NaN.
    """

    name: str
    steps: Float[np.ndarray, "n"]
    values: Float[np.ndarray, "n"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl: one JSON object a line.

    A last line that was cut short (the run was killed while writing) is dropped.

    Raises:
      UserError: the file cannot be read, or a line before the last is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); is it a run folder?"
        ) from error
    rows = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        row = _parse(line)
        if row is not None:
            rows.append(row)
        elif i < len(lines) - 1:
            raise UserError(f"{path}: line {i + 1} is no JSON object; delete that line")
    return rows


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def curves(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Every scalar that rows with a "step" log, in the order of first appearance.

    A step logged twice (a run resumed from an older checkpoint) counts with its last value.
    """
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        for name, value in row.items():
            if name not in _NOT_CURVES and (v := _number(value)) is not None:
                series.setdefault(name, {})[step] = v
    found = []
    for name, points in series.items():
        steps = sorted(points)
        found.append(Curve(name, np.array(steps), np.array([points[s] for s in steps])))
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def grouped(found: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves that belong in one plot: the same last part of the name ("train/l1", "eval/l1")."""
    groups: dict[str, list[Curve]] = {}
    for curve in found:
        groups.setdefault(curve.name.rsplit("/", 1)[-1], []).append(curve)
    return groups
