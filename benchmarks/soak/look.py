"""What a run folder tells from outside: how far a run is, and what it was doing when it died."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from medjax.run import RESULTS
from medjax.train.loop import CHECKPOINTS
from medjax.train.writers import METRICS

PHASES = ("start-up", "compile", "steps", "save", "evaluation")


@dataclass(frozen=True)
class Look:
    """A run folder at one moment.

    Attributes:
      writer: number of the metrics file, which each session writes anew once the loop has begun.
      row: the newest step with a whole row of metrics; 0 without.
      saved: steps with a finished checkpoint, oldest first.
      unfinished: checkpoints that are being written, or were left so, each with its last change.
      judged: whether the results are there.
    """

    writer: int | None = None
    row: int = 0
    saved: tuple[int, ...] = ()
    unfinished: frozenset[tuple[str, int]] = frozenset()
    judged: bool = False

    @property
    def newest(self) -> int:
        """The newest finished checkpoint; 0 without."""
        return max(self.saved, default=0)


def look(run: Path) -> Look:
    """How the folder stands now; it may be missing, and a process may be at work in it."""
    saved: list[int] = []
    unfinished = set()
    with contextlib.suppress(FileNotFoundError):
        for path in (run / CHECKPOINTS).iterdir():
            if path.name.isdecimal():
                saved.append(int(path.name))
            elif "tmp" in path.name:
                with contextlib.suppress(FileNotFoundError):
                    unfinished.add((path.name, path.stat().st_ctime_ns))
    writer, row = None, 0
    with contextlib.suppress(FileNotFoundError), (run / METRICS).open("rb") as file:
        writer = (run / METRICS).stat().st_ino
        row = _last_step(file.read())
    judged = (run / RESULTS).is_file()
    return Look(writer, row, tuple(sorted(saved)), frozenset(unfinished), judged)


def _last_step(text: bytes) -> int:
    for line in reversed(text.splitlines()[-2:]):
        # A process may be writing the last line, or have died of it.
        with contextlib.suppress(ValueError, KeyError):
            return int(json.loads(line)["step"])
    return 0


def phase(before: Look, now: Look, resumed: int | None, steps: int) -> str:
    """Which of `PHASES` a session is in, or was in when it ended.

    Args:
      before: the folder when the session began.
      now: the folder now.
      resumed: the step from which the session went on; None until its loop has begun.
      steps: in the whole run.
    """
    if now.writer == before.writer or resumed is None:
        return "start-up"
    if steps in now.saved:
        return "evaluation"
    if now.unfinished - before.unfinished:
        return "save"
    return "steps" if now.row > resumed else "compile"
