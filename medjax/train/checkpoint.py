"""Checkpoints: state, data iterator, experiment and digest together; the newest that verifies wins.

Orbax writes a step under a temporary name and renames it, so a step that exists was finished.
What Orbax does not see (flipped bits, files cut short by a disk) the digests see.

Of several processes each holds the whole state on its host while it is saved, sharded or not, and
process 0 writes it: one digest over one state, the same files whatever the number of processes.
That costs a gather and host memory for one state; states here are small beside the activations.
When restoring, each reads what its devices hold, and all agree on which step verified.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from medjax.errors import UserError
from medjax.train import digest, processes, record
from medjax.train.health import Diverged, nonfinite_leaf
from medjax.train.ranking import KeepBest
from medjax.train.share import gathered

_log = logging.getLogger(__name__)
_BROKEN = "broken-"


@runtime_checkable
class Batches(Protocol):
    """A Grain iterator: the next batch, and a position that can be saved and set."""

    def __next__(self) -> dict[str, Any]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


@dataclass(frozen=True)
class Restored:
    """A state that verified, its step, and the newer checkpoints that did not (`path: why`)."""

    step: int
    state: Any
    skipped: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one run, one folder a step.

    Args:
        folder: made if it is missing, unless `read_only`.
        identity: JSON-able facts that decide what is computed (method, model, data, seed, ...).
            A checkpoint of another identity is refused. None accepts any, for evaluation.
        experiment: the full JSON of the run, stored beside the state and not compared.
        keep_latest: how many of the newest steps to keep.
        keep_best: how many of the best steps by `best_metric` to keep besides.
        best_metric: name of the metric that ranks steps; None ranks nothing.
        best_mode: whether more or less of the metric is better.
        read_only: open what a run, perhaps a live one, has written, and change nothing; one
            process of several may do so alone.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any] | None = None,
        *,
        experiment: Mapping[str, Any] | None = None,
        keep_latest: int = 2,
        keep_best: int = 1,
        best_metric: str | None = None,
        best_mode: Literal["min", "max"] = "max",
        read_only: bool = False,
    ) -> None:
        if keep_latest < 1:
            raise ValueError(f"keep_latest must be at least 1: got {keep_latest}")
        self.folder = Path(folder).absolute()
        self._identity = None if identity is None else record.plain(identity)
        self._experiment = None if experiment is None else record.plain(experiment)
        self._keep_latest = keep_latest
        self._metric = best_metric
        self._sign = 1.0 if best_mode == "max" else -1.0
        self._best = KeepBest(n=keep_best)
        self._read_only = read_only
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)

    def steps(self) -> list[int]:
        """Steps on disk, oldest first, verified or not."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def newest_step(self) -> int | None:
        """The newest finished step, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The best step by `best_metric` whose record verifies, or None."""
        self.wait()
        self._read_scores()
        return next(iter(self._best.best()), None)

    def experiment(self, step: int) -> dict[str, Any]:
        """What the run said about itself when it saved `step`: `identity` and `experiment`.

        Raises:
            UserError: the record does not verify.
        """
        try:
            note = self._record(step)
        except record.BrokenError as error:
            raise UserError(f"{self._path(step)}: {error}; use another step") from error
        return {"identity": note["identity"], "experiment": note["experiment"]}

    def save(
        self,
        step: int,
        state: Any,
        iterator: Batches | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Saves `step`. Returns when the state is copied; files follow in the background.

        Args:
            step: steps done so far; a step that exists already is left as it is.
            state: pytree of arrays. It may be donated as soon as this returns.
            iterator: stands right behind the batch of `step`.
            metrics: finite numbers to store; `best_metric` among them ranks the step.

        Raises:
            Diverged: the state holds values that are not finite; nothing is saved.
        """
        self.wait()
        if processes.from_first(step in self.steps()):
            return
        host = digest.snapshot(state)
        leaves = digest.leaves_of(host)
        if problem := nonfinite_leaf(leaves):
            raise Diverged(f"step {step}: {problem}; {self.describe_newest()}")
        note = record.write(
            step,
            leaves,
            identity=self._identity,
            experiment=self._experiment,
            position=None if iterator is None else iterator.get_state(),
            metrics=metrics or {},
        )
        self._read_scores()
        self._rank(note)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(note)
        )
        # force: without it Orbax declines, silently, whatever it thinks is not due.
        self._manager.save(step, args=items, force=True)

    def restore_newest(self, like: Any, iterator: Batches | None = None) -> Restored | None:
        """The newest checkpoint that verifies, or None where none was ever finished.

        Sets `iterator` to where it stood. Newer checkpoints that do not verify are renamed to
        `broken-STEP` (unless `read_only`), because the run will come to their steps again.

        Args:
            like: `jax.ShapeDtypeStruct`s with shardings, in the structure of the state.
            iterator: as passed to `save`.

        Raises:
            UserError: the checkpoint belongs to another experiment or other model code, or there
                are checkpoints and none verifies.
        """
        self.wait()
        skipped: list[str] = []
        step = self._before(None)
        while step is not None:
            try:
                restored = self._restore(step, like, iterator)
            except record.BrokenError as error:
                skipped.append(f"{self._path(step)}: {error}")
                _log.warning("%s; trying the one before it", skipped[-1])
                step = self._before(step)
                continue
            if not self._read_only and processes.first():
                for broken in [other for other in self.steps() if other > step]:
                    self._set_aside(broken)
            return Restored(step, restored, tuple(skipped))
        if skipped:
            raise UserError(
                f"{self.folder}: no checkpoint verifies ({'; '.join(skipped)}); "
                "restore the folder from a backup, or remove it to start again"
            )
        return None

    def restore_state(self, step: int | Literal["best", "newest"], like: Any) -> Restored:
        """The state of a step, for evaluation: verified, no iterator, nothing changed on disk.

        "newest" and "best" fall back to the next step that verifies; a number does not.

        Raises:
            UserError: nothing fitting verifies.
        """
        self.wait()
        skipped: list[str] = []
        for candidate in self._candidates(step):
            try:
                return Restored(candidate, self._restore(candidate, like, None), tuple(skipped))
            except record.BrokenError as error:
                skipped.append(f"{self._path(candidate)}: {error}")
                _log.warning("%s", skipped[-1])
        why = "; ".join(skipped) or f"found {self.steps() or 'none'}"
        wanted = f"at step {step}" if isinstance(step, int) else "that can be read"
        raise UserError(f"{self.folder}: no checkpoint {wanted} ({why}); train again")

    def describe_newest(self) -> str:
        """`last good checkpoint: PATH`, for messages; waits for a save under way."""
        self.wait()
        step = self.newest_step()
        return (
            "no checkpoint was saved"
            if step is None
            else (f"last good checkpoint: {self._path(step)}")
        )

    def wait(self) -> None:
        """Waits for a save under way, and raises what went wrong in it."""
        if "_manager" in self.__dict__:
            self._manager.wait_until_finished()

    def check(self) -> None:
        """Raises what went wrong in a save that has ended; never waits for one under way."""
        if "_manager" in self.__dict__ and not self._manager.is_saving_in_progress():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for a save under way and frees Orbax's threads."""
        if "_manager" in self.__dict__:
            self._manager.close()
            del self._manager

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _manager(self) -> ocp.CheckpointManager:
        latest = policies.LatestN(self._keep_latest)
        return ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([latest, self._best]),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                # Metadata of a damaged step would stop the manager from opening.
                lightweight_initialize=True,
            ),
        )

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _before(self, limit: int | None) -> int | None:
        """The newest step older than `limit`, as process 0 sees the folder: others may lag."""
        newest = max((step for step in self.steps() if limit is None or step < limit), default=-1)
        if not self._read_only:
            newest = processes.from_first(newest)
        return None if newest < 0 else newest

    def _candidates(self, step: int | Literal["best", "newest"]) -> Iterator[int]:
        if step == "newest":
            yield from reversed(self.steps())
        elif step == "best":
            if self._metric is None:
                raise ValueError("best_metric was not given, so no step is the best")
            self._read_scores()
            yield from self._best.best()
        elif step in self.steps():
            yield step

    def _record(self, step: int) -> dict[str, Any]:
        return record.read(self._path(step) / "record", step)

    def _restore(self, step: int, like: Any, iterator: Batches | None) -> Any:
        with self._together():
            path, note = self._path(step), self._record(step)
            if self._identity is not None:
                record.check_identity(path, note["identity"], self._identity)
            record.check_leaves(path, note["leaves"], digest.spec_of(digest.leaves_of(like)))
            state = record.read_state(path / "state", like)
        with self._together():
            host = jax.device_get(gathered(state))
            if digest.digest_arrays(digest.leaves_of(host)) != note["digest"]:
                raise record.BrokenError("its state does not match the digest")
            if iterator is not None:
                position = record.position(note)
                if position is None:
                    raise record.BrokenError("it holds no position of the data")
                iterator.set_state(position)
        return state

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What is broken for one of several processes is broken for all."""
        if self._read_only:
            yield
            return
        broken = None
        try:
            yield
        except record.BrokenError as error:
            broken = error
        where = processes.failed(broken is not None)
        if where is not None:
            raise broken or record.BrokenError(f"process {where} cannot read it")

    def _set_aside(self, step: int) -> None:
        target = self.folder / f"{_BROKEN}{step}"
        if target.exists():
            shutil.rmtree(target)
        self._path(step).rename(target)

    def _read_scores(self) -> None:
        for step in self.steps():
            if self._metric is None or step in self._best.scores:
                continue
            try:
                self._rank(self._record(step))
            except record.BrokenError:
                # Restoring names it; ranking needs no second warning.
                continue

    def _rank(self, note: Mapping[str, Any]) -> None:
        if self._metric is not None and self._metric in note["metrics"]:
            self._best.scores[note["step"]] = self._sign * note["metrics"][self._metric]
