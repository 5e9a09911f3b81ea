"""Calls in a process of their own: counted, timed, and their faults told."""

import os
import time
from pathlib import Path

import pytest

from benchmarks.apart import Apart, ApartError


def _calls(folder: str):
    def slow() -> None:
        with Path(folder, str(os.getpid())).open("a") as log:
            log.write("x")
        time.sleep(0.05)

    return {"slow": slow, "idle": lambda: None}


def _failing(when: str):
    def fail() -> None:
        raise ValueError("no such layer")

    if when == "made":
        fail()
    return {"fail": fail}


def _ending():
    os._exit(3)


def test_each_call_is_made_and_timed_in_another_process(tmp_path: Path) -> None:
    with Apart(_calls, str(tmp_path)) as apart:
        assert apart.names == ("slow", "idle")
        took = apart.milliseconds("slow", "wall", 3)
        assert took >= 50
        assert apart.milliseconds("slow", "cpu", 3) < took
        assert apart.milliseconds("idle", "wall", 1) < 50
    (log,) = tmp_path.iterdir()
    assert int(log.name) != os.getpid()
    # One to warm up, and twice one more before the three that are timed.
    assert len(log.read_text()) == 1 + 2 * 4


@pytest.mark.parametrize("when", ["made", "called"])
def test_what_fails_there_is_told_here(when: str) -> None:
    with pytest.raises(ApartError, match="ValueError: no such layer"):
        Apart(_failing, when)


def test_a_process_that_ends_is_told() -> None:
    with pytest.raises(ApartError, match="ended without a word"):
        Apart(_ending)
