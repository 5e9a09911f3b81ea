"""Starts toy runs in processes of their own, and looks at how far they are."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from medjax.train.writers import read_metrics

HERE = Path(__file__).parent
# Seconds; far more than anything here takes on a busy machine.
PATIENCE = 240


class Nursery:
    """Starts runs in processes of their own, one at a time."""

    def __init__(self) -> None:
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "PYTHONPATH": str(HERE.parents[1]),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "toy_run.py"), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Unbuffered: what `select` does not see would wait here.
            bufsize=0,
            env=environment,
        )

    def start(self, run: Path, *options: object) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(run), *map(str, options)]).encode() + b"\n")
        return int(self._process.stdout.readline())

    def result(self) -> int:
        """Exit code of the run started last; minus the signal that ended it."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, f"no end within {PATIENCE} s"
        return int(self._process.stdout.readline())

    def run(self, run: Path, *options: object) -> int:
        self.start(run, *options)
        return self.result()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def outcome(run: Path):
    """Digest of the final state, and the rows of metrics but for the clock."""
    rows = [(row.step, row.metrics) for row in read_metrics(run)]
    return (run / "final.sha256").read_text(), rows


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        text = (run / "at").read_text() if (run / "at").exists() else ""
        if text and int(text) >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"step {step} did not come")
