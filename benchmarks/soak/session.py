"""One `medjax train` in a process of its own, watched from outside and ended at will."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import benchmarks
from benchmarks.soak.experiment import SPOILT
from benchmarks.soak.look import look, phase
from medjax.errors import UserError

COMMAND = "from medjax.cli import main; main()"
PAUSE = 0.004
PATIENCE = 900.0


class Session:
    """A started `medjax train`; use it as a context manager, so that it never outlives the soak.

    Attributes:
      before: the run folder when it began.
      resumed: the step from which it went on, once its loop has begun; else None.
      began: after how many seconds each phase was first seen.
    """

    def __init__(
        self, run: Path, steps: int, environment: Mapping[str, str], log: Path | None = None
    ) -> None:
        self.run, self._steps = run, steps
        self.before = look(run)
        self.resumed: int | None = None
        self.began: dict[str, float] = {}
        self._log = log or run.with_suffix(".log")
        self._begin = time.monotonic()
        experiment = Path(__file__).with_name("experiment.py")
        words = ["train", experiment, "--setting", "cpu", "--run", run, "--schedule.steps", steps]
        with self._log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=dict(environment),
            )

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._begin

    @property
    def said(self) -> str:
        """What it wrote to standard output and error so far."""
        return self._log.read_text(errors="replace")

    @property
    def newest_row(self) -> int:
        """The last step with metrics."""
        return look(self.run).row

    def phase(self) -> str:
        """What it is doing, or did when it ended."""
        now = look(self.run)
        if self.resumed is None and now.writer != self.before.writer:
            self.resumed = now.row
        current = phase(self.before, now, self.resumed, self._steps)
        self.began.setdefault(current, self.seconds)
        return current

    def wait(self, until: Callable[[str], bool]) -> bool:
        """Waits for a phase; False where it ended before.

        Raises:
          UserError: nothing came of it in a quarter of an hour.
        """
        end = time.monotonic() + PATIENCE
        while self.running:
            if until(self.phase()):
                return True
            if time.monotonic() > end:
                raise UserError(f"{self._log}: the run hangs; see what it said there")
            time.sleep(PAUSE)
        return False

    def sleep(self, seconds: float) -> None:
        """Lets it run on, but keeps watching."""
        end = time.monotonic() + seconds
        self.wait(lambda _: time.monotonic() >= end)

    def finish(self) -> int:
        """Its exit code, when it has ended by itself; minus the signal that ended it."""
        self.wait(lambda _: False)
        self.phase()
        return self.process.wait()

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end."""
        if self.running:
            self.process.send_signal(number)
        return self.finish()


def environment(folder: Path) -> dict[str, str]:
    """Of all sessions: datasets, compiled programs and the marker of spoilt data in `folder`."""
    return os.environ | {
        "MEDJAX_HOME": str(folder / "home"),
        SPOILT: str(folder / "spoilt"),
        # The very medjax that this process imports, whatever else is installed.
        "PYTHONPATH": str(Path(benchmarks.__file__).parents[1]),
        # Each session compiles the same programs; without this the soak is about compilers.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
