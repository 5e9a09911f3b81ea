"""Real kills: whatever ends the process, the run that goes on ends as one that never stopped."""

import contextlib
import os
import random
import shutil
import signal
import time

import pytest
import toy_run
from nursery import Nursery, outcome, wait_for_step


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def reference(nursery, folder):
    run = folder / "reference"
    assert nursery.run(run) == 0
    return outcome(run)


def test_killed_in_the_middle_of_saves(nursery, folder, reference):
    """At file events inside saves: before, between and after the renames, and in deletions."""
    run = folder / "in_saves"
    killed = 0
    # A save makes about twenty file events; each attempt gets a little further than the last.
    for event in (9, 23, 31, 39, 46):
        killed += nursery.run(run, "--kill-at", event) == -signal.SIGKILL
    assert killed == 5
    assert not (run / "final.sha256").exists()
    assert nursery.run(run) == 0
    assert outcome(run) == reference
    assert not list((run / "checkpoints").glob("*tmp*"))


def test_killed_from_outside_at_any_time(nursery, folder, reference):
    run = folder / "outside"
    for step in (2, 7, 13, 20):
        child = nursery.start(run, "--slow", 0.01)
        wait_for_step(run, step)
        os.kill(child, signal.SIGKILL)
        assert nursery.result() == -signal.SIGKILL
        (run / "at").unlink()
    assert nursery.run(run) == 0
    assert outcome(run) == reference


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_0(nursery, folder, reference, number):
    run = folder / number.name
    child = nursery.start(run, "--slow", 0.02)
    wait_for_step(run, 5)
    os.kill(child, number)
    assert nursery.result() == 0
    assert not (run / "final.sha256").exists()
    stopped = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert 5 <= stopped < toy_run.STEPS
    # The step under way was the last one, scheduled to be saved or not.
    assert stopped - int((run / "at").read_text()) in (0, 1)
    assert nursery.run(run) == 0
    assert outcome(run) == reference


def test_a_second_signal_ends_at_once(nursery, folder, reference):
    run = folder / "impatient"
    child = nursery.start(run, "--slow", 600)
    wait_for_step(run, 1)
    os.kill(child, signal.SIGINT)
    time.sleep(0.2)
    os.kill(child, signal.SIGINT)
    assert nursery.result() == -signal.SIGINT
    assert nursery.run(run) == 0
    assert outcome(run) == reference


def test_two_processes_do_not_train_in_one_folder(nursery, folder):
    run = folder / "shared"
    child = nursery.start(run, "--slow", 600)
    wait_for_step(run, 1)
    other = Nursery()
    try:
        assert other.run(run) == 2
    finally:
        other.close()
        os.kill(child, signal.SIGKILL)
    assert nursery.result() == -signal.SIGKILL
    # The kernel let go of the folder with the process.
    assert nursery.run(run, "--steps", 4) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("where", "events"), [("checkpoints", 60), ("metrics.jsonl", 2)])
def test_killed_at_every_file_event(nursery, folder, where, events):
    # Three saves, the last of which removes the first.
    short = ("--steps", 3 * toy_run.SAVE_EVERY)
    assert nursery.run(folder / f"short_{where}", *short) == 0
    reference = outcome(folder / f"short_{where}")
    event = 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        event += 1
        run = folder / f"event{event}"
        code = nursery.run(run, "--kill-at", event, "--kill-in", where, *short)
        if code == -signal.SIGKILL:
            assert nursery.run(run, *short) == 0
        assert outcome(run) == reference, event
        shutil.rmtree(run)
    assert event > events
    assert code == 0


@pytest.mark.slow
def test_killed_at_random_times(nursery, folder, reference):
    random.seed(0)
    for trial in range(10):
        run = folder / f"random{trial}"
        for _ in range(4):
            child = nursery.start(run, "--slow", 0.005)
            time.sleep(random.uniform(0.3, 2.0))
            # It may have ended by itself, but is not yet waited for by anyone but the nursery.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            assert nursery.result() in (0, -signal.SIGKILL)
        assert nursery.run(run) == 0
        assert outcome(run) == reference
