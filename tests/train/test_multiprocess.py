"""Two processes of four devices, for real: one run, through kills, signals and other topologies."""

import os
import signal
import socket

import numpy as np
import pytest
import toy_run
from nursery import Nursery, outcome, wait_for_step

from medjax.errors import UserError
from medjax.train import processes

ONE = ("--devices", 8)


class Pair:
    """Two processes that train one run together."""

    def __init__(self, *nurseries: Nursery) -> None:
        self._nurseries = nurseries

    def start(self, run, *options) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        return [
            nursery.start(run, "--devices", 4, "--join", f"{address},{index}/2", *options)
            for index, nursery in enumerate(self._nurseries)
        ]

    def results(self) -> list[int]:
        return [nursery.result() for nursery in self._nurseries]

    def run(self, run, *options) -> list[int]:
        self.start(run, *options)
        return self.results()


@pytest.fixture(scope="module")
def pair(nursery):
    second = Nursery()
    yield Pair(nursery, second)
    second.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def together(pair, folder):
    """The run of two processes that nothing disturbed."""
    run = folder / "together"
    assert pair.run(run) == [0, 0]
    return run


@pytest.fixture(scope="module")
def single(nursery, folder):
    """The run of one process with as many devices."""
    run = folder / "single"
    assert nursery.run(run, *ONE) == 0
    return run


def assert_close(run, other):
    """The same numbers but for the order of sums: states and every row of metrics."""
    with np.load(run / "final.npz") as left, np.load(other / "final.npz") as right:
        assert left.files == right.files
        for name in left.files:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-4, atol=1e-6)
    for (step, row), (other_step, other_row) in zip(
        outcome(run)[1], outcome(other)[1], strict=True
    ):
        assert step == other_step
        # The first scan of the batch: process 0 has the rows that a single process has first.
        assert row["first"] == other_row["first"]
        np.testing.assert_allclose(row["loss"], other_row["loss"], rtol=1e-5)


def checkpoints(run):
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("place", ["here", "host:1234", "host:1234,2/2", "host,0/2", "host:1,0/0"])
def test_a_place_that_is_none(place):
    with pytest.raises(UserError, match=r"neither auto nor HOST:PORT,INDEX/COUNT"):
        processes.join(place)


def test_two_processes_compute_what_one_does(together, single):
    assert_close(together, single)
    assert checkpoints(together) == checkpoints(single)


@pytest.mark.parametrize("which", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_one_killed_ends_the_other_and_the_run_goes_on(which, pair, folder, together):
    """Process 0 serves the others, so its end ends them in another way."""
    run = folder / f"killed{which}"
    children = pair.start(run, "--slow", 0.02)
    wait_for_step(run, toy_run.SAVE_EVERY + 2)
    os.kill(children[which], signal.SIGKILL)
    results = pair.results()
    assert results[which] == -signal.SIGKILL
    assert results[1 - which] != 0
    assert not (run / "final.sha256").exists()
    assert checkpoints(run)
    assert pair.run(run) == [0, 0]
    assert outcome(run) == outcome(together)


def test_a_signal_to_one_stops_both_and_one_process_goes_on(pair, nursery, folder, single):
    run = folder / "signalled"
    children = pair.start(run, "--slow", 0.02)
    wait_for_step(run, 5)
    os.kill(children[1], signal.SIGTERM)
    assert pair.results() == [0, 0]
    assert not (run / "final.sha256").exists()
    assert 5 <= checkpoints(run)[-1] < toy_run.STEPS
    # Other topology, same run.
    assert nursery.run(run, *ONE) == 0
    assert_close(run, single)


@pytest.mark.slow
def test_a_run_moves_between_topologies(pair, nursery, folder, single):
    run = folder / "moving"
    assert nursery.run(run, "--devices", 1, "--steps", 6) == 0
    (run / "final.sha256").unlink()
    assert pair.run(run, "--steps", 12) == [0, 0]
    assert nursery.run(run, *ONE, "--steps", 18) == 0
    assert pair.run(run) == [0, 0]
    assert_close(run, single)


@pytest.mark.slow
def test_a_state_in_halves_is_saved_whole(pair, nursery, folder, single):
    """Each process holds half of the weights and of the images' rows."""
    run = folder / "halves"
    halves = ("--space", 4, "--sharded")
    assert pair.run(run, *halves, "--steps", 8) == [0, 0]
    assert pair.run(run, *halves, "--steps", 16) == [0, 0]
    assert nursery.run(run, *ONE) == 0
    assert_close(run, single)


@pytest.mark.slow
def test_images_are_split_over_processes(pair, folder, single):
    run = folder / "images"
    assert pair.run(run, "--space", 8) == [0, 0]
    assert_close(run, single)


@pytest.mark.slow
def test_a_folder_in_use_is_refused_by_both(pair, nursery, folder):
    run = folder / "used"
    child = Nursery()
    try:
        number = child.start(run, *ONE, "--slow", 600)
        wait_for_step(run, 1)
        assert pair.run(run) == [2, 2]
        os.kill(number, signal.SIGKILL)
        assert child.result() == -signal.SIGKILL
    finally:
        child.close()
