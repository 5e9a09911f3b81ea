"""Where the time of a training step goes: a trace of some steps, and its operations in words."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

from medjax import operations
from medjax.build import Training, batches_of, mesh_of, state_sharding_of, training_of
from medjax.data import catalog
from medjax.errors import UserError
from medjax.experiment import Experiment
from medjax.train.checkpoint import Batches
from medjax.train.compiled import program
from medjax.train.session import next_batch

_log = logging.getLogger(__name__)
WARM_UP = 3
# Steps in the trace before those that count: its own memory is new at first.
SETTLING = 10
# Spans that the loop marks in the trace.
WHOLE, INPUT = "medjax steps", "medjax input"


class Span(NamedTuple):
    """Something in a trace, from start to end in nanoseconds."""

    name: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of operation in one place.

    Attributes:
      what: in plain words.
      where: layer, or file and line.
      share: of the time of all operations, 0 to 1.
      milliseconds: a step and device.
      calls: a step and device.
    """

    what: str
    where: str
    share: float
    milliseconds: float
    calls: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a step spends its time on.

    Attributes:
      rows: the most expensive first.
      step_milliseconds: from one step to the next.
      idle: share of the time in which no operation ran on any device, 0 to 1.
      input: share of the time in which none ran while the loop was getting a batch, 0 to 1; a
        part of `idle`.
      work: milliseconds a step and device of all operations; more than the step's where several
        run at once.
    """

    rows: tuple[Row, ...]
    step_milliseconds: float
    idle: float
    input: float
    work: float


def profile(experiment: Experiment, folder: Path, steps: int) -> Profile:
    """Trains some steps of the experiment on its own data and traces them, compiled and warm.

    Args:
      experiment: as `run.train` takes it; nothing of it is saved.
      folder: receives the trace.
      steps: that are traced.

    Raises:
      UserError: the dataset is unknown or does not serve the task.
    """
    records = catalog.load(experiment.data.name).split("train")
    experiment.task.check(records[0])
    with contextlib.closing(batches_of(experiment, records)) as batches:
        return _profiled(experiment, training_of(experiment), batches, folder, steps)


def _profiled(
    experiment: Experiment, training: Training, batches: Batches, folder: Path, steps: int
) -> Profile:
    total = WARM_UP + SETTLING + steps
    first = next_batch(batches, 0, total)
    mesh = mesh_of(experiment)
    plan = program(
        training.init,
        training.step,
        first,
        mesh=mesh,
        seed=experiment.seed,
        state_sharding=state_sharding_of(experiment),
    )
    batch = plan.put(first)
    state = plan.start(batch)
    _log.info("compiling")
    compiled = plan.compiled()
    run = plan.bind(compiled)

    def trained(state: Any, begin: int, end: int) -> Any:
        late = None
        for done in range(begin, end):
            with jax.profiler.TraceAnnotation(INPUT):
                batch = plan.put(next_batch(batches, done, total))
            state, metrics = run(state, batch, done)
            # As the loop of training does: the metrics of the step before.
            jax.device_get(late)
            late = metrics
        return jax.block_until_ready(state)

    state = trained(state, 0, WARM_UP)
    _log.info("tracing %d steps", steps)
    options = jax.profiler.ProfileOptions()
    # Python's own calls would fill the trace and slow the loop.
    options.python_tracer_level = 0
    with jax.profiler.trace(str(folder), profiler_options=options):
        state = trained(state, WARM_UP, WARM_UP + SETTLING)
        begin = time.perf_counter()
        with jax.profiler.TraceAnnotation(WHOLE):
            trained(state, WARM_UP + SETTLING, total)
        seconds = time.perf_counter() - begin
    names = operations.read(compiled.as_text() or "")
    spans, marks = spans_of(newest_trace(folder), names.module)
    return summary(spans, marks, names, steps, mesh.size, seconds)


def newest_trace(folder: Path) -> Path:
    """The newest profile in a folder of traces.

    Raises:
      UserError: there is none.
    """
    found = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise UserError(f"{folder}: the profiler wrote no trace; try again")
    return found[-1]


def spans_of(trace: Path, module: str) -> tuple[list[Span], list[Span]]:
    """The operations of a compiled module in a trace, by instruction, and the marks of the loop.

    Args:
      trace: an `.xplane.pb` of JAX's profiler.
      module: the module's name.
    """
    planes = list(ProfileData.from_file(str(trace)).planes)
    host = [plane for plane in planes if not plane.name.startswith("/device:")]
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    marks = [
        Span(event.name, event.start_ns, event.end_ns)
        for event in _events(host)
        if event.name in (WHOLE, INPUT)
    ]
    # Accelerators have planes of their own; the CPU's operations run in the host's threads.
    return list(_operations(devices, module)) or list(_operations(host, module)), marks


def _events(planes: Iterable[Any]) -> Iterator[Any]:
    for plane in planes:
        for line in plane.lines:
            yield from line.events


def _operations(planes: Iterable[Any], module: str) -> Iterator[Span]:
    for event in _events(planes):
        stats = dict(event.stats)
        if "hlo_op" in stats and str(stats.get("hlo_module", module)).split("(")[0] == module:
            yield Span(str(stats["hlo_op"]), event.start_ns, event.end_ns)


def summary(
    spans: Sequence[Span],
    marks: Sequence[Span],
    names: operations.Operations,
    steps: int,
    devices: int,
    seconds: float,
) -> Profile:
    """What `spans` add up to, operations of one kind and place together.

    Args:
      spans: by instruction; those that only hold others (loops, calls) are left out, and those
        that begin before the steps that count.
      marks: `WHOLE` once, the steps that count, and `INPUT` for each batch.
      names: what the instructions are.
      steps: that the trace holds.
      devices: that ran them.
      seconds: that they took on the host's clock.

    Raises:
      UserError: the trace holds no operations.
    """
    whole = next((mark for mark in marks if mark.name == WHOLE), None)
    leaves = [
        span
        for span in spans
        if not names.holds_others(span.name) and (whole is None or span.start >= whole.start)
    ]
    if not leaves:
        raise UserError(
            "the trace names no operations of the compiled step: this device's profiler is not "
            "known to medjax profile; open the trace itself"
        )
    grouped: dict[tuple[str, str], list[float]] = {}
    for span in leaves:
        place = names.what(span.name), names.where(span.name)
        grouped.setdefault(place, []).append(span.end - span.start)
    work = sum(sum(times) for times in grouped.values()) or 1.0
    each = steps * devices
    rows = [
        Row(what, where, sum(times) / work, sum(times) / 1e6 / each, len(times) / each)
        for (what, where), times in grouped.items()
    ]
    whole = whole or Span(WHOLE, min(s.start for s in leaves), max(s.end for s in leaves))
    inside = whole.end - whole.start
    busy = covered(leaves, whole)
    waiting = covered([*leaves, *(m for m in marks if m.name == INPUT)], whole) - busy
    return Profile(
        tuple(sorted(rows, key=lambda row: -row.share)),
        1e3 * seconds / steps,
        1 - busy / inside,
        waiting / inside,
        work / 1e6 / each,
    )


def covered(spans: Iterable[Span], within: Span) -> float:
    """Nanoseconds of `within` in which at least one of the spans is."""
    total, reached = 0.0, within.start
    for span in sorted(spans, key=lambda span: span.start):
        begin, end = max(span.start, reached), min(span.end, within.end)
        if end > begin:
            total += end - begin
            reached = end
    return total
