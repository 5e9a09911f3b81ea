"""A sweep's worker: a process that trains one setting after another until none is left."""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import jax
import numpy as np
import optuna

from medjax import levels, run, seen
from medjax.data import catalog
from medjax.data.builder import datasets_folder
from medjax.errors import UserError
from medjax.evaluate import contenders, judge
from medjax.experiment import Experiment
from medjax.sweep import plan as plans
from medjax.sweep import study as studies
from medjax.sweep.plan import Plan
from medjax.sweep.study import Taken

_log = logging.getLogger(__name__)
LOGS = "logs"
IDLE_SECONDS = 0.5
# Other noise on the scans than training, tuning or the final evaluation see.
SEED_OFFSET = 2_000_000
Values = Mapping[str, float]


class Outcome(NamedTuple):
    """How good a setting is: the objective, and each scan's values by its name."""

    objective: float
    cases: Mapping[str, Values]


Trial = Callable[[Plan, Experiment, Path], Outcome]


@dataclasses.dataclass
class Interrupts:
    """SIGTERM as KeyboardInterrupt, but only where a setting can be given back."""

    caught: bool = False
    welcome: bool = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """For `signal.signal`."""
        self.caught = True
        if self.welcome:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Raises KeyboardInterrupt inside the block, also for a signal that came before it."""
        self.welcome = True
        try:
            if self.caught:
                raise KeyboardInterrupt
            yield
        finally:
            self.welcome = False


def work(plan: Plan, folder: Path, trial: Trial, interrupts: Interrupts | None = None) -> None:
    """Takes settings until none waits or runs.

    Raises:
      KeyboardInterrupt: asked to stop; the setting under way is given back.
    """
    interrupts = interrupts or Interrupts()
    study = studies.open_study(plan, folder)
    while True:
        with interrupts.allowed():
            pass
        with studies.take(study, plan, folder) as taken:
            if taken is not None:
                _log.info("setting %s: %s", taken.number, dict(taken.settings))
                _try(study, plan, folder, taken, trial, interrupts)
        if taken is None:
            # What others work on may come back, if they are killed.
            if not studies.unfinished(studies.listed(study)):
                return
            with interrupts.allowed():
                time.sleep(IDLE_SECONDS)


def _try(
    study: optuna.Study,
    plan: Plan,
    folder: Path,
    taken: Taken,
    trial: Trial,
    interrupts: Interrupts,
) -> None:
    try:
        with interrupts.allowed():
            experiment = plan.experiment(taken.settings)
            outcome = trial(plan, experiment, folder / studies.TRIALS / taken.number)
    except KeyboardInterrupt:
        studies.put_back(study, taken)
        raise
    except UserError as error:
        _log.warning("setting %s: %s", taken.number, error)
        studies.failed(study, taken, str(error))
    else:
        studies.done(study, taken, outcome.objective, outcome.cases)


def train_and_judge(plan: Plan, experiment: Experiment, folder: Path) -> Outcome:
    """Trains one setting, from its checkpoint if it has one, and measures it on the split.

    Raises:
      KeyboardInterrupt: stopped while training; the checkpoint is saved.
      UserError: it cannot be trained, or diverged.
    """
    result = run.train(experiment, folder)
    seen.keep(folder, experiment.data.name, *levels.trained_on(experiment))
    if result.interrupted:
        raise KeyboardInterrupt
    if result.step_seconds is not None:
        run.write_pace(folder, result)
    trained = run.open_run(folder, experiment)
    task, label = experiment.task, experiment.method.label
    records = catalog.load(experiment.data.name).split(plan.split)
    # The sweep's seed, not the trial's: all settings are judged on the same noise.
    seed = plan.base.seed + SEED_OFFSET
    rows = contenders(task, (), (label, trained.restore))
    judged = list(judge(task, records, rows, seed))
    column = plans.column(plan)
    values = [float(j.values[label][column.key]) for j in judged]
    if column.better == "reference":
        wanted = [float(j.values[task.reference_name][column.key]) for j in judged]
        values = [abs(v - w) for v, w in zip(values, wanted, strict=True)]
    cases = {j.case.name: {k: float(v) for k, v in j.values[label].items()} for j in judged}
    return Outcome(float(np.mean(values)), cases)


def main(folder: Path, number: int, cores: frozenset[int], trial: Trial = train_and_judge) -> None:
    """The worker's process; started by `crew`."""
    _log_to(folder / LOGS / f"worker-{number}.log")
    _log.info("worker %d: process %d", number, os.getpid())
    if cores:
        os.sched_setaffinity(0, cores)
    interrupts = Interrupts()
    signal.signal(signal.SIGTERM, interrupts.handle)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if jax.default_backend() != "cpu":
        # Not on CPU: XLA refuses what it stored itself (jax issue 38445).
        jax.config.update("jax_compilation_cache_dir", str(datasets_folder().parent / "compiled"))
    with contextlib.suppress(KeyboardInterrupt):
        work(plans.read(folder), folder, trial, interrupts)
    # All is told; a signal from here on would only interrupt Python's own cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("medjax").setLevel(logging.INFO)
