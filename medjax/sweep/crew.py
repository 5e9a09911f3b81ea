"""The workers of a sweep: started, watched, replaced where they were killed, stopped together."""

import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path

from medjax.errors import UserError
from medjax.sweep import space, worker
from medjax.sweep import study as studies
from medjax.sweep.plan import Plan
from medjax.sweep.study import DEATHS, TRIALS, Setting
from medjax.train.interrupt import catch_signals, shield_children
from medjax.train.writers import METRICS

_log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
# What is left of a setting after its last step: judging it.
TRAINING = 0.95


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a sweep is.

    Attributes:
      settings: those begun or queued, with what became of them.
      total: how many there will be.
      work: settings' worth of training done, fractions of unfinished ones included.
      seconds_left: at the pace of this session, or None before there is one.
    """

    settings: tuple[Setting, ...]
    total: int
    work: float
    seconds_left: float | None

    @property
    def ended(self) -> int:
        """Settings that nothing more will happen to."""
        return sum(s.status not in ("waiting", "running") for s in self.settings)


def sweep(
    plan: Plan,
    folder: Path,
    workers: int,
    *,
    pin: bool,
    report: Callable[[Standing], None],
    trial: worker.Trial = worker.train_and_judge,
) -> bool:
    """Works until no setting is left; False where a signal ended it early.

    The first SIGINT or SIGTERM lets each worker save and give its setting back.

    Args:
      plan: what to search; `plan.keep` wrote it into the folder.
      folder: of the sweep.
      workers: processes, each with a setting at a time.
      pin: give each worker processor cores of its own.
      report: told where the sweep stands, about once a second.
      trial: trains and judges one setting; a function that child processes can import.

    Raises:
      UserError: workers end again and again without getting anything done.
    """
    study = studies.open_study(plan, folder)
    studies.fill(study, plan, folder)
    begin, work_before = time.monotonic(), None
    deaths, ended = 0, 0

    def start(number: int) -> SpawnProcess:
        cores = share(number, workers) if pin else frozenset[int]()
        return _start(folder, number, cores, trial)

    with catch_signals() as stop, _crew(workers, start) as crew:
        while True:
            now = standing(plan, folder, studies.listed(study))
            if work_before is None:
                work_before = now.work
            report(_timed(now, time.monotonic() - begin, work_before))
            if now.ended >= now.total:
                return True
            if stop.requested:
                return False
            if now.ended > ended:
                deaths, ended = 0, now.ended
            deaths += _replace_dead(crew, start)
            if deaths > DEATHS * workers:
                raise UserError(
                    f"the sweep's workers end before they get anything done; "
                    f"read {folder / worker.LOGS}, mend it and give the same command again"
                )
            time.sleep(POLL_SECONDS)


def standing(plan: Plan, folder: Path, settings: Sequence[Setting]) -> Standing:
    """Where the sweep stands, without a guess of the time left."""
    grid = sum(1 for _ in space.grid(plan.choices))
    total = max(plan.trials, len(settings)) if plan.ranges else grid
    work = 0.0
    for setting in settings:
        if setting.status in ("waiting", "running"):
            steps = plan.experiment(setting.settings).schedule.steps if setting.settings else 1
            work += TRAINING * min(1.0, last_step(folder / TRIALS / setting.number) / steps)
        else:
            work += 1
    return Standing(tuple(settings), total, work, None)


def last_step(run: Path) -> int:
    """The newest step in a run's metrics, 0 before there is one."""
    try:
        with (run / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        # The last line may be half written, the first half read.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return int(json.loads(line)["step"])
    return 0


def share(number: int, workers: int) -> frozenset[int]:
    """The processor cores of one worker; none where the system cannot bind processes to cores."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    cores = sorted(os.sched_getaffinity(0))
    return frozenset(cores[number::workers] or [cores[number % len(cores)]])


def _timed(now: Standing, seconds: float, work_before: float) -> Standing:
    gained = now.work - work_before
    if gained <= 0:
        return now
    return dataclasses.replace(now, seconds_left=seconds * (now.total - now.work) / gained)


def _start(folder: Path, number: int, cores: frozenset[int], trial: worker.Trial) -> SpawnProcess:
    # Not forked: JAX has threads by now, and a fork of them may hang.
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=worker.main, args=(folder, number, cores, trial), name=f"worker {number}"
    )
    # Ctrl-C reaches every process of the terminal; workers are told to stop by SIGTERM alone.
    with shield_children():
        process.start()
    return process


@contextlib.contextmanager
def _crew(workers: int, start: Callable[[int], SpawnProcess]) -> Iterator[list[SpawnProcess]]:
    """The workers while the block lasts; at its end each saves, and is waited for."""
    crew: list[SpawnProcess] = []
    try:
        crew.extend(start(number) for number in range(workers))
        yield crew
    finally:
        for process in crew:
            process.terminate()
        for process in crew:
            process.join()


def _replace_dead(crew: list[SpawnProcess], start: Callable[[int], SpawnProcess]) -> int:
    """Puts new workers in the place of those that ended; tells how many."""
    deaths = 0
    for number, process in enumerate(crew):
        if process.exitcode is not None:
            _log.warning("worker %d ended (code %d); another starts", number, process.exitcode)
            crew[number] = start(number)
            deaths += 1
    return deaths
