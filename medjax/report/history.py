"""What a run logged, as curves: the rows of metrics.jsonl turned into one series a metric."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from medjax.train.writers import Row


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


def curves(rows: Sequence[Row]) -> list[Curve]:
    """A curve for every metric, in the order of first appearance.

    A step that was logged twice counts with its last value.

    Args:
      rows: as from `medjax.train.writers.read_metrics`.
    """
    series: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.metrics.items():
            series.setdefault(name, {})[row.step] = float(value)
    found = []
    for name, points in series.items():
        steps = sorted(points)
        values = np.array([points[s] for s in steps], np.float64)
        found.append(Curve(name, np.array(steps, np.float64), values))
    return found


def grouped(found: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves that belong in one plot: the same last part of the name ("train/l1", "eval/l1")."""
    groups: dict[str, list[Curve]] = {}
    for curve in found:
        groups.setdefault(curve.name.rsplit("/", 1)[-1], []).append(curve)
    return groups
