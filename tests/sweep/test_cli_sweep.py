"""medjax sweep as a user types it: killed, stopped, gone on with; and what it refuses."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

pytest.importorskip("optuna")

from medjax import cli
from medjax.sweep import plan as plans
from medjax.sweep import study as studies
from medjax.sweep import worker
from medjax.sweep.space import Choice
from medjax.train.writers import read_metrics

STEPS = 25
T = TypeVar("T")


@contextlib.contextmanager
def started(args: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from medjax.cli import main; main()", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], condition: Callable[[], T]) -> T:
    """What the condition answers once that is true."""
    deadline = time.monotonic() + 300
    while not (answer := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.05)
    return answer


def at_work(folder: Path, worker: int) -> tuple[int, str] | None:
    """The worker's process and the setting it works on, by its log."""
    log = folder / "logs" / f"worker-{worker}.log"
    said = log.read_text() if log.exists() else ""
    process, setting = re.findall(r"process (\d+)", said), re.findall(r"setting (\d+):", said)
    return (int(process[-1]), setting[-1]) if setting else None


def workers(folder: Path) -> list[int]:
    said = "".join(log.read_text() for log in (folder / "logs").iterdir())
    return [int(process) for process in re.findall(r"process (\d+)", said)]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_sweep_survives_kill_9_and_ctrl_c(toy: str, tmp_path: Path) -> None:
    args = ["sweep", toy, "--grid", "schedule.peak=1e-3,1e-1", "--grid", "seed=1,2"]
    args += ["--schedule.steps", str(STEPS), "--workers", "2", "--run", "swept"]
    folder = tmp_path / "swept"
    with started(args) as process:
        # Worker 0 is killed as soon as it has something to lose.
        victim, number = until(process, lambda: at_work(folder, 0))
        checkpoints = folder / "trials" / number / "checkpoints"
        until(
            process,
            lambda: any(
                int(p.name) >= 3
                for p in [*checkpoints.glob("[0-9]"), *checkpoints.glob("[0-9][0-9]")]
            ),
        )
        os.kill(victim, signal.SIGKILL)
        plan = plans.read(folder)
        study = studies.open_study(plan, folder)
        until(process, lambda: studies.listed(study)[int(number)].attempts == 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"next, to go on: medjax sweep {toy} --grid schedule.peak=1e-3,1e-1" in out
    assert "worker 0 ended (code -9); another starts" in err
    assert not [pid for pid in workers(folder) if alive(pid)]
    stopped = studies.listed(study)
    assert all(s.status in ("waiting", "done") for s in stopped) and studies.unfinished(stopped)

    with started(args) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    settings = studies.listed(study)
    assert [s.status for s in settings] == ["done"] * 4
    assert settings[int(number)].attempts >= 2
    for setting in settings:
        run = folder / "trials" / setting.number
        assert [row.step for row in read_metrics(run)] == list(range(1, STEPS + 1))
    events = (folder / "trials" / number / "tensorboard").iterdir()
    begun = {int(re.search(r"\.(\d+)\.\d+$", e.name).group(1)) for e in events}  # pyright: ignore
    assert 0 in begun and max(begun) >= 3, "the second attempt went on from a checkpoint"

    # As good as if nothing had happened.
    chosen = settings[int(number)]
    again = worker.train_and_judge(plan, plan.experiment(chosen.settings), tmp_path / "again")
    assert chosen.objective == pytest.approx(again.objective, abs=1e-3)
    found = json.loads((folder / "sweep.json").read_text())
    assert len(found["settings"]) == 4 and found["best"]["command"] in out
    assert "<circle" in (folder / "sweep.html").read_text()

    # The best run is judged on the test scans without being trained again.
    line = next(line for line in out.splitlines() if "--run" in line)
    assert cli.run(line.split(": medjax ")[1].split()) == 0
    best = folder / "trials" / found["best"]["number"]
    assert json.loads((best / "results.json").read_text())["results"]["case_ids"] == [
        "test-0",
        "test-1",
    ]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["nosuch", "--grid", "seed=1"], "no experiment has this name"),
        (["TOY"], "say what to vary"),
        (["TOY", "--grid", "schedule.peek=1"], "did you mean schedule.peak"),
        (["TOY", "--grid", "schedule.peak=0.1,fast"], "fast"),
        (["TOY", "--grid", "seed=1.5"], "1.5"),
        (["TOY", "--grid", "schedule=1"], "group of fields"),
        (["TOY", "--grid", "seed=1", "--grid", "seed=2"], "varied twice"),
        (["TOY", "--grid", "seed=1", "--trials", "3"], "a grid is tried whole"),
        (["TOY", "--grid", "seed=1", "--workers", "0"], "at least 1"),
        (["TOY", "--range", "schedule.peak=1:0"], "less than"),
        (["TOY", "--grid", "seed=1", "--metric", "pnsr"], "did you mean psnr"),
        (["TOY", "--grid", "seed=1", "--data", "blind"], "--valid"),
        (["quickstart", "--grid", "seed=1", "--schedule.stps", "2"], "mean --schedule.steps"),
        (["TOY", "--grid", "network.kernel=3,0"], "network.kernel=0"),
        (["quickstart", "--grid", "tiling.ensemble=True,maybe"], "maybe"),
    ],
)
def test_bad_arguments_end_in_one_line_before_anything_trains(
    toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], expected: str
) -> None:
    assert cli.run(["sweep", *(toy if word == "TOY" else word for word in args)]) == 2
    lines = [s for s in capsys.readouterr().err.splitlines() if s.startswith("medjax: ")]
    assert len(lines) == 1 and expected in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_sweep_is_refused(
    toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = Choice("seed", ("1",), (1,))
    plans.keep(plans.Plan(toy, "cpu", (), {}, (seeds,), (), 20, "psnr", "valid"), tmp_path)
    before = (tmp_path / "plan.json").read_bytes()
    assert cli.run(["sweep", toy, "--grid", "seed=1,2", "--run", str(tmp_path)]) == 2
    assert "grid.seed is ['1'] there" in capsys.readouterr().err
    assert (tmp_path / "plan.json").read_bytes() == before


def test_help_shows_the_weights_of_the_article(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sweep", "--help"]) == 0
    said = capsys.readouterr().out
    assert "medjax sweep ldct_cgan --grid method.weights.adversarial=0.001,0.01,0.1" in said
