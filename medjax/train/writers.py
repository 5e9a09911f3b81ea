"""Metrics of a run: `metrics.jsonl`, one JSON row a logged step, and TensorBoard events."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float

_log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class Row:
    """A line of `metrics.jsonl`: step (counted from 1), its metrics, seconds trained so far."""

    step: int
    metrics: dict[str, float]
    seconds: float


def read_metrics(run: Path) -> list[Row]:
    """The rows of `run/metrics.jsonl` in order; lines that are not rows are skipped with a warning.

    A killed process leaves at most its last line unfinished.
    """
    path = run / METRICS
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        try:
            rows.append(Row(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            _log.warning("%s: line %d is not a row of metrics, skipped", path, number)
    return rows


class Writer(Protocol):
    """What the loop tells metrics to; `seconds` is the training time before this session."""

    seconds: float

    def write(self, step: int, metrics: Mapping[str, float], seconds: float) -> None: ...
    def flush(self) -> None: ...


class Silent:
    """Writes nothing: for the processes of a run that are not its first."""

    seconds = 0.0

    def write(self, step: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""


class MetricWriter:
    """Writes metrics of a run that stands at step `resumed` (0: a new run).

    Rows of later steps are dropped first, so that a run that was killed and went on leaves the
    same steps and metrics as one that never was; TensorBoard is told to forget them too.
    """

    def __init__(self, run: Path, resumed: int = 0) -> None:
        run.mkdir(parents=True, exist_ok=True)
        rows = [row for row in read_metrics(run) if row.step <= resumed]
        path = run / METRICS
        part = path.with_name(f".{METRICS}.part")
        part.write_text("".join(map(_line, rows)))
        part.replace(path)
        self._file = path.open("a")
        self.seconds = rows[-1].seconds if rows else 0.0

        # Imported here: tensorboardX imports torch where that is installed, which takes seconds
        # that whoever only reads metrics need not wait.
        from medjax.train.tensorboard import Events

        self._events = Events(run / TENSORBOARD, resumed)

    def write(self, step: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Adds a row; `seconds` is the training time so far, counted over all sessions."""
        self._file.write(_line(Row(step, dict(metrics), round(seconds, 3))))
        self._file.flush()
        for name, value in metrics.items():
            self._events.scalar(step, name, value)

    def image(self, step: int, name: str, image: Float[np.ndarray, "height width channel"]) -> None:
        """Adds a picture to TensorBoard, values in [0, 1], one or three channels."""
        self._events.image(step, name, image)

    def flush(self) -> None:
        """Brings all rows to the disk; a checkpoint must not be older than the rows before it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        self.flush()
        self._file.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _line(row: Row) -> str:
    return json.dumps({"step": row.step, "metrics": row.metrics, "seconds": row.seconds}) + "\n"
