"""Rows compiled in several processes at once, and timed one after another.

Compiling for GPUs takes minutes a row and keeps one core busy; a step takes milliseconds. So each
row of a group has a process of its own, which compiles and then waits for its turn. None is timed
before all of the group have compiled or are ended. What is compiled at once competes, also for the
device on which the compilers try their kernels: compile times say so, and choices of kernels may be
noisier. Together they must fit into the device's memory: 12 of the `full` rows did not into 80 GB.
"""

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.throughput.measure import leave_room, measured, say, torch_on
from benchmarks.throughput.peaks import Peak
from benchmarks.throughput.suite import BY_NAME, work
from medjax.nn.blocks import Precision


class Job(NamedTuple):
    """A row to be measured, as it travels to its process."""

    row: str
    setting: str
    dtype: Precision
    shape: tuple[int, ...] | None
    batch: int | None
    peak: Peak
    rounds: int
    torch: str
    torch_threads: int | None


class Failed(NamedTuple):
    """A row that was not measured, and why."""

    row: str
    dtype: str
    reason: str


_READY, _GO = "ready", "go"
# Of the time to compile in; what PyTorch has not compiled by then is left out, and the row stays.
_FOR_TORCH = 0.85


def in_groups(jobs: Sequence[Job], processes: int, limit: float) -> Iterator[dict | Failed]:
    """Measures all jobs, `processes` of them at a time.

    Args:
      jobs: the rows.
      processes: that compile at once; each holds its row on the device until its turn.
      limit: seconds after which a row that has not compiled is left out; after most of them, what
        PyTorch has not compiled is left out of its row.
    """
    for start in range(0, len(jobs), processes):
        yield from _group(jobs[start : start + processes], limit)


def _group(jobs: Sequence[Job], limit: float) -> Iterator[dict | Failed]:
    spawning = multiprocessing.get_context("spawn")
    running = []
    for job in jobs:
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=_run, args=(job, theirs, limit), daemon=True)
        process.start()
        theirs.close()
        running.append((job, ours, process))
    end = time.monotonic() + limit
    waiting = []
    for job, pipe, process in running:
        said = _said(pipe, max(0.0, end - time.monotonic()))
        if said == _READY:
            waiting.append((job, pipe, process))
        else:
            # Nothing of it may run beside those that are timed.
            process.kill()
            process.join()
            yield Failed(job.row, job.dtype, said or f"not compiled within {limit:g} s")
    for job, pipe, process in waiting:
        # Where it ended while it waited, that is told next.
        with contextlib.suppress(BrokenPipeError):
            pipe.send(_GO)
        said = _said(pipe, None)
        yield said if isinstance(said, dict) else Failed(job.row, job.dtype, said)
        process.join()


def _said(pipe: Connection, seconds: float | None) -> Any:
    """What the process says next; empty where it does not in time, or ended without a word."""
    try:
        return pipe.recv() if pipe.poll(seconds) else ""
    except (EOFError, ConnectionResetError):
        return "its process ended without a word, as when memory runs out"


def _run(job: Job, pipe: Connection, limit: float) -> None:
    """One row, in its own process."""
    until = time.monotonic() + _FOR_TORCH * limit

    def turn() -> None:
        leave_room()
        say(f"{job.row}, {job.dtype}: compiled, waits for its turn")
        pipe.send(_READY)
        pipe.recv()

    if job.torch_threads:
        torch_on(job.torch_threads)
    try:
        given = work(BY_NAME[job.row], job.setting, job.dtype, job.shape, job.batch)
        pipe.send(measured(given, job.peak, job.rounds, job.torch, turn, until))
    # Whatever ends one row is told in its place, and the others go on.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}")
