"""What a person watching a run wants to see."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tick:
    """Where a run stands: told to a reporter after every step.

    Attributes:
        step: steps done, counted from 1.
        steps: steps in the whole run.
        metrics: metrics of `step`.
        step_seconds: median time of recent steps, or None before there are any.
        images_per_second: at that pace, or None.
    """

    step: int
    steps: int
    metrics: Mapping[str, float]
    step_seconds: float | None
    images_per_second: float | None

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, at the recent pace."""
        if self.step_seconds is None:
            return None
        return (self.steps - self.step) * self.step_seconds


class Progress:
    """A reporter for `fit`: a bar on a terminal, else a log line every `every` seconds.

    Use it as a context manager and pass it as `reporter`. It writes to standard error.

    Args:
        every: seconds between log lines where there is no terminal.
        shown: metrics to show, in order; None shows the first three.
        console: where the bar goes; None is standard error.
    """

    def __init__(
        self,
        *,
        every: float = 10.0,
        shown: tuple[str, ...] | None = None,
        console: Console | None = None,
    ) -> None:
        self._every = every
        self._shown = shown
        self._next = time.monotonic()
        console = console or Console(stderr=True)
        self._bar = None
        if console.is_terminal:
            self._bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                console=console,
                transient=False,
            )
            self._task = self._bar.add_task("starting (compiling takes a while)", total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, tick: Tick) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=tick.step,
                total=tick.steps,
                description=describe(tick, self._shown),
            )
        elif time.monotonic() >= self._next or tick.step == tick.steps:
            self._next = time.monotonic() + self._every
            _log.info("step %d/%d  %s", tick.step, tick.steps, describe(tick, self._shown))


def describe(tick: Tick, shown: tuple[str, ...] | None = None) -> str:
    """One line: pace, images a second, metrics, time left."""
    parts = []
    if tick.step_seconds is not None:
        parts.append(f"{tick.step_seconds * 1e3:.4g} ms/step")
    if tick.images_per_second is not None:
        parts.append(f"{tick.images_per_second:.4g} images/s")
    names = tuple(tick.metrics)[:3] if shown is None else shown
    parts += [f"{name} {tick.metrics[name]:.4g}" for name in names if name in tick.metrics]
    if tick.seconds_left is not None:
        parts.append(f"{_clock(tick.seconds_left)} left")
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
