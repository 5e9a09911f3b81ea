"""One call of the training loop: step after step, the metrics of each read one step late."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import numpy as np

from medjax.errors import UserError
from medjax.train.checkpoint import Batches, Checkpoints
from medjax.train.compiled import ASKED, Program, State
from medjax.train.health import Diverged, nonfinite_metric
from medjax.train.interrupt import Stop
from medjax.train.processes import meet, several
from medjax.train.progress import Tick
from medjax.train.writers import Writer


@dataclass
class Session:
    """One call of `fit`: what it works with, and how far it is.

    The fields are `fit`'s arguments, or made of them; `images` are those of a batch.
    """

    plan: Program
    batches: Batches
    checkpoints: Checkpoints
    writer: Writer
    stop: Stop
    steps: int
    save_every: int
    log_every: int
    images: int
    evaluate: Callable[[State], Mapping[str, float]] | None
    reporter: Callable[[Tick], None] | None
    done: int
    compile_seconds: float = 0.0
    _late: tuple[int, dict[str, jax.Array]] | None = None
    _paces: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _read_at: float | None = None
    _agreed: bool = False

    def train(self, state: State, batch: dict[str, jax.Array] | None) -> State:
        """Steps from `done` to `steps` or a signal; `batch` is the next one, if already read."""
        if self.done >= self.steps or self._stopping:
            return state
        run, self.compile_seconds = self.plan.compile()
        meet()
        saved = self.done
        begin = time.perf_counter() - self.writer.seconds
        while self.done < self.steps and not self._stopping:
            if batch is None:
                batch = self._put(next_batch(self.batches, self.done, self.steps))
            with jax.transfer_guard("disallow"):
                state, metrics = run(state, batch, self.done, self.stop.requested)
            batch = None
            jax.tree.map(lambda metric: metric.copy_to_host_async(), metrics)
            self._settle(begin)
            self.checkpoints.check()
            self.done += 1
            self._late = (self.done, metrics)
            if self.done % self.save_every == 0 or self.done == self.steps:
                self._save(state, begin, scheduled=True)
                saved = self.done
        if saved != self.done:
            self._save(state, begin, scheduled=False)
        return state

    @property
    def _stopping(self) -> bool:
        """Of several processes none stops on its own: the others would wait for it."""
        return self._agreed if several() else self.stop.requested

    def _put(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        with jax.transfer_guard("disallow"):
            return self.plan.put(batch)

    def step_seconds(self) -> float | None:
        """Median of the last hundred steps."""
        return statistics.median(self._paces) if self._paces else None

    def _settle(self, begin: float) -> None:
        """Deals with the metrics of the step before, while the device has the next in its queue."""
        if self._late is not None:
            self._report(*self._read(), begin)

    def _read(self) -> tuple[int, dict[str, float]]:
        assert self._late is not None
        step, on_device = self._late
        self._late = None
        metrics = {name: float(value) for name, value in jax.device_get(on_device).items()}
        self._agreed = bool(metrics.pop(ASKED, 0))
        now = time.perf_counter()
        if self._read_at is not None:
            self._paces.append(now - self._read_at)
        self._read_at = now
        self._demand_finite(step, metrics)
        return step, metrics

    def _report(self, step: int, metrics: dict[str, float], begin: float) -> None:
        if step % self.log_every == 0 or step == self.steps:
            self.writer.write(step, metrics, time.perf_counter() - begin)
        if self.reporter is not None:
            pace = self.step_seconds()
            per_second = self.images / pace if pace else None
            self.reporter(Tick(step, self.steps, metrics, pace, per_second))

    def _save(self, state: State, begin: float, *, scheduled: bool) -> None:
        step, metrics = self._read()
        self._report(step, metrics, begin)
        if scheduled and self.evaluate is not None:
            extra = {name: float(value) for name, value in self.evaluate(state).items()}
            self._demand_finite(step, extra)
            self.writer.write(step, extra, time.perf_counter() - begin)
            metrics |= extra
        self.writer.flush()
        self.checkpoints.save(step, state, self.batches, metrics)
        # The pause to save belongs to no step.
        self._read_at = None

    def _demand_finite(self, step: int, metrics: Mapping[str, float]) -> None:
        if problem := nonfinite_metric(metrics):
            raise Diverged(
                f"step {step}: {problem}; {self.checkpoints.describe_newest()}; "
                "try a lower learning rate"
            )


def next_batch(batches: Batches, done: int, steps: int) -> dict[str, np.ndarray]:
    """The next batch.

    Raises:
        UserError: there is none.
    """
    try:
        return next(batches)
    except StopIteration:
        raise UserError(
            f"the data ended after {done} of {steps} steps; repeat the dataset or ask for fewer"
        ) from None
