"""What medjax promises of a run that something ends, as checks that name what was broken."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from medjax.train.loop import CHECKPOINTS
from medjax.train.writers import read_metrics


@dataclass(frozen=True)
class Final:
    """How a run ended.

    Attributes:
      step: of its newest checkpoint.
      digest: SHA-256 of that checkpoint's arrays, read here and not taken from its record.
      rows: steps and metrics of metrics.jsonl, without the clock.
    """

    step: int
    digest: str
    rows: tuple[tuple[int, dict[str, float]], ...]


def final(run: Path) -> Final:
    """Reads the end of a finished run."""
    step = max(int(p.name) for p in (run / CHECKPOINTS).iterdir() if p.name.isdecimal())
    return Final(
        step,
        arrays_digest(run / CHECKPOINTS / str(step) / "state"),
        tuple((row.step, row.metrics) for row in read_metrics(run)),
    )


def arrays_digest(state: Path) -> str:
    """SHA-256 over paths, types, shapes and bytes of a saved state."""
    digest = hashlib.sha256()
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        wanted = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
            reader.metadata(state).item_metadata.tree,
        )
        tree = reader.restore(state, ocp.args.PyTreeRestore(restore_args=wanted))
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def broken_end(found: Final, reference: Final) -> list[str]:
    """Where a finished run differs from one that nothing interrupted."""
    broken = []
    if found.step != reference.step:
        broken.append(f"ended at step {found.step}, not {reference.step}")
    if found.digest != reference.digest:
        broken.append("the final state is not bit-identical to the uninterrupted run's")
    if found.rows != reference.rows:
        other = next((a for a, b in zip(found.rows, reference.rows, strict=False) if a != b), None)
        where = f"step {other[0]}" if other else f"{len(found.rows)} of {len(reference.rows)} rows"
        broken.append(f"metrics.jsonl differs from the uninterrupted run's: {where}")
    return broken


def broken_resume(
    *, at: int, saved: Sequence[int], resumed: int, save_every: int, spoilt: int = 0
) -> list[str]:
    """Whether more was lost than the steps since the last save.

    A save is written while training goes on and waits for the one before it, after the metrics of
    its own step are written. So a run is sure to have begun a save only where metrics of a later
    step are there; that save may be unfinished, or have failed for a full disk; the one before it
    must be there.

    Args:
      at: last step with metrics when the run ended.
      saved: finished checkpoints then.
      resumed: the step from which the next session went on.
      save_every: steps between saves.
      spoilt: how many of the newest checkpoints were damaged afterwards.
    """
    broken = []
    begun = (at - 1) // save_every * save_every
    newest = max(saved, default=0)
    if newest < begun - save_every:
        broken.append(f"ended after step {at}, but the newest checkpoint was of step {newest}")
    usable = [0, *sorted(saved)]
    allowed = usable[-1 - spoilt :] if spoilt < len(usable) else usable
    if resumed not in allowed:
        broken.append(f"went on from step {resumed}, not from {allowed[0]}, the last good one")
    return broken


def broken_full(
    *, filled: int, at: int, before: Sequence[int], saved: Sequence[int], save_every: int
) -> list[str]:
    """Whether a run on a full disk lost a checkpoint that was finished, or went on for long.

    What it cannot write ends it, a save at the latest before the next one begins.

    Args:
      filled: last step with metrics when the disk was full.
      at: the same when the run ended.
      before: finished checkpoints before the disk was full.
      saved: finished checkpoints when the run ended.
      save_every: steps between saves.
    """
    broken = []
    newest = max(before, default=0)
    if max(saved, default=0) < newest:
        broken.append(f"the checkpoint of step {newest} was finished, and is gone")
    failed = filled // save_every * save_every + save_every
    if at > failed + save_every:
        broken.append(f"the disk was full after step {filled}, and it went on to step {at}")
    return broken


def naming_line(said: str, pattern: str) -> str:
    """The one line that names a fault; empty where there is none or more than one."""
    lines = [line for line in said.splitlines() if re.search(pattern, line)]
    return lines[0] if len(lines) == 1 else ""


def broken_words(said: str, *, code: int, expected: Sequence[int], pattern: str = "") -> list[str]:
    """Whether a session ended with the documented code and said what was wrong in one line.

    Args:
      said: all that it wrote.
      code: its exit code.
      expected: the documented ones.
      pattern: what exactly one line must match, naming file or step; empty where none is due.
    """
    broken = []
    if code not in expected:
        broken.append(f"exit code {code}, documented is {' or '.join(map(str, expected))}")
    if "Traceback" in said:
        broken.append("a traceback was shown")
    if pattern and not naming_line(said, pattern):
        broken.append(f"not one line that names it ({pattern})")
    told = [line for line in said.splitlines() if line.startswith("medjax: ")]
    if code == 2 and len(told) != 1:
        broken.append(f"{len(told)} lines that begin with 'medjax: ', one is due")
    return broken
