"""The training loop: knows states, batches and steps, and nothing of what is trained."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from medjax.train import mesh as meshes
from medjax.train import processes
from medjax.train.checkpoint import Batches, Checkpoints
from medjax.train.compiled import Init, State, Step, program
from medjax.train.interrupt import catch_signals, shield_children
from medjax.train.progress import Tick
from medjax.train.record import first_line
from medjax.train.session import Session, next_batch
from medjax.train.writers import MetricWriter, Silent

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class FitResult:
    """How a call of `fit` ended.

    Attributes:
        state: the state after `step` steps, on the devices.
        step: steps done, over all sessions.
        interrupted: a signal ended it early; calling `fit` again goes on.
        compile_seconds: to compile the step; 0 where no step was due.
        step_seconds: median of the last hundred steps of this call, or None without any.
        images_per_second: at that pace, or None.
        skipped_checkpoints: newer checkpoints that did not verify (`path: why`).
    """

    state: State
    step: int
    interrupted: bool
    compile_seconds: float
    step_seconds: float | None
    images_per_second: float | None
    skipped_checkpoints: tuple[str, ...]


def fit(
    *,
    init: Init,
    begin: Callable[[State], State] | None = None,
    step: Step,
    batches: Batches,
    run: Path,
    identity: Mapping[str, Any],
    seed: int,
    steps: int,
    save_every: int,
    log_every: int,
    mesh: Mesh | None = None,
    images_per_batch: int | None = None,
    experiment: Mapping[str, Any] | None = None,
    evaluate: Callable[[State], Mapping[str, float]] | None = None,
    keep_latest: int = 2,
    keep_best: int = 1,
    best_metric: str | None = None,
    best_mode: Literal["min", "max"] = "max",
    state_sharding: Callable[[Mesh, State], State] = meshes.state_sharding,
    reporter: Callable[[Tick], None] | None = None,
) -> FitResult:
    """Trains until `steps`, from wherever the newest good checkpoint in `run` stands.

    Killed at any moment and called again with the same arguments, it ends with the state and the
    metrics of a run that was never killed, bit for bit where the device computes reproducibly
    (CPU does). SIGTERM and Ctrl-C save after the step under way and return.

    Several processes (`processes.join`) call it with the same arguments, each with its own rows of
    every batch, in a folder that all of them see. Process 0 alone writes metrics and is told of
    steps; a signal to any of them stops all after the same step. On the same number of processes
    and devices a run ends with the same bits, on others with the same numbers to rounding: the
    order of sums over devices differs.

    Args:
        init: `(key, batch) -> state`; runs jitted, each shard on its own device.
        begin: `state -> state`, what a fresh state becomes before the first step, such as one with
            the weights of another run; shapes, types and shardings stay.
        step: `(state, batch, key) -> (state, metrics)` with scalar metrics; runs jitted, the state
            donated. The key is `rng.stream(seed, "train", steps done before)`.
        batches: a Grain iterator of dicts of NumPy arrays `[batch, ...]`, all of one shape; of
            several processes, each its `share.rows`. The position saved is the one right behind
            the last batch used, however far it prefetches; it must be the same on all processes.
        run: folder that receives `checkpoints/`, `metrics.jsonl` and `tensorboard/`.
        identity: JSON-able facts that decide what is computed. `seed` is added. A run folder of
            another identity is refused.
        seed: of `init` and `step`; the data has its own.
        steps: steps in the whole run.
        save_every: steps between checkpoints; the last step is saved too.
        log_every: steps between rows of metrics; the last step is logged too. Metrics of
            `evaluate` get a row of their own.
        mesh: from `mesh.make`; None takes all devices along `data`.
        images_per_batch: for images a second; None counts the first axis of the global batch.
        experiment: JSON of the whole run to store beside each checkpoint.
        evaluate: `state -> metrics`, called before each scheduled save; must not donate the state.
        keep_latest: newest checkpoints to keep.
        keep_best: best checkpoints by `best_metric` to keep besides.
        best_metric: a metric of `step` or `evaluate`.
        best_mode: whether more or less of it is better.
        state_sharding: `(mesh, shapes of the state) -> shardings`; replicated by default.
        reporter: told after every step, say a `progress.Progress`.

    Raises:
        Diverged: a metric or the state is not finite.
        UserError: another run lives in the folder, or works in it now; the batch does not divide
            among the devices; the data ended; no checkpoint verifies.
        PeerLostError: a step failed that several processes compute; the process must end too.
        ValueError: `step` does not fit `init`, or a batch is unlike the first.
    """
    if min(steps, save_every, log_every) < 1:
        raise ValueError("steps, save_every and log_every must be positive")
    with ExitStack() as stack, _peers(stack):
        stack.enter_context(processes.owned(run))
        stop = stack.enter_context(catch_signals())
        checkpoints = stack.enter_context(
            Checkpoints(
                run / CHECKPOINTS,
                {**identity, "seed": seed},
                experiment=experiment,
                keep_latest=keep_latest,
                keep_best=keep_best,
                best_metric=best_metric,
                best_mode=best_mode,
            )
        )
        with shield_children():
            first = next_batch(batches, 0, steps)
        plan = program(
            init, step, first, mesh=mesh or meshes.make(), seed=seed, state_sharding=state_sharding
        )
        restored = checkpoints.restore_newest(plan.like, batches)
        done = restored.step if restored else 0
        first_process = processes.first()
        writer = stack.enter_context(MetricWriter(run, done)) if first_process else Silent()
        session = Session(
            plan=plan,
            batches=batches,
            checkpoints=checkpoints,
            writer=writer,
            stop=stop,
            steps=steps,
            save_every=save_every,
            log_every=log_every,
            images=images_per_batch or next(iter(plan.batch_like.values())).shape[0],
            evaluate=evaluate,
            reporter=reporter if first_process else None,
            done=done,
        )
        if restored is None:
            batch = plan.put(first)
            fresh = plan.start(batch)
            state = session.train(begin(fresh) if begin else fresh, batch)
        else:
            state = session.train(restored.state, None)
        pace = session.step_seconds()
        return FitResult(
            state=state,
            step=session.done,
            interrupted=session.done < steps,
            compile_seconds=session.compile_seconds,
            step_seconds=pace,
            images_per_second=session.images / pace if pace else None,
            skipped_checkpoints=restored.skipped if restored else (),
        )


@contextmanager
def _peers(stack: ExitStack) -> Iterator[None]:
    """Makes a failed computation of several processes one clear line.

    What `stack` would close then is left as it is: closing waits for all processes, and a run
    survives the end of its process at any moment.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not processes.several():
            raise
        stack.pop_all()
        raise processes.PeerLostError(
            f"process {jax.process_index()} of {jax.process_count()}: {first_line(error)}; if "
            "another process ended, this one cannot go on: start all again, and the run goes on "
            "from its last checkpoint"
        ) from error
