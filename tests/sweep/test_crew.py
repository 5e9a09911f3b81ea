"""Worker processes: one is killed, another takes over, all stop when told, and work goes on."""

import os
import re
import signal
from pathlib import Path

import pytest

from medjax.sweep import crew, plan, worker
from medjax.sweep import study as studies
from medjax.sweep.crew import Standing
from medjax.sweep.plan import Plan
from medjax.sweep.space import Choice
from medjax.train.writers import read_metrics

STEPS = 15


def test_killed_stopped_and_gone_on_with(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(crew, "POLL_SECONDS", 0.05)
    seeds = Choice("seed", ("1", "2"), (1, 2))
    what = Plan(toy, "cpu", (), {"schedule.steps": STEPS}, (seeds,), (), 0, "psnr", "valid")
    plan.keep(what, tmp_path)
    log, first = tmp_path / "logs" / "worker-0.log", tmp_path / "trials" / "0"
    killed: list[int] = []

    def report(now: Standing) -> None:
        """What happens to the sweep while it runs."""
        saved = [int(p.name) for p in first.glob("checkpoints/*") if p.name.isdigit()]
        attempts = now.settings[0].attempts if now.settings else 0
        if not killed and max(saved, default=0) >= 3:
            killed.append(worker_process(log))
            os.kill(killed[0], signal.SIGKILL)
        elif attempts == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not crew.sweep(what, tmp_path, 1, pin=True, report=report)
    assert killed and worker_process(log) != killed[0]
    with pytest.raises(ProcessLookupError):
        os.kill(worker_process(log), 0)
    study = studies.open_study(what, tmp_path)
    # The killed setting was queued behind the other one.
    assert [s.status for s in studies.listed(study)] == ["waiting", "done"]

    worker.work(what, tmp_path, worker.train_and_judge)
    settings = studies.listed(study)
    assert [s.status for s in settings] == ["done", "done"]
    assert settings[0].attempts == 3 and settings[1].attempts == 1
    assert [row.step for row in read_metrics(first)] == list(range(1, STEPS + 1))
    assert max(begun_at(first)) >= 3, "a later attempt went on from a checkpoint"
    # As good as if nothing had happened.
    again = worker.train_and_judge(what, what.experiment({"seed": "1"}), tmp_path / "again")
    assert settings[0].objective == pytest.approx(again.objective, abs=1e-3)


def worker_process(log: Path) -> int:
    return int(re.findall(r"process (\d+)", log.read_text())[-1])


def begun_at(run: Path) -> list[int]:
    """The steps from which the attempts at a run went on: TensorBoard gets a file from each."""
    names = [e.name.split(".") for e in (run / "tensorboard").iterdir()]
    return [int(name[-2]) for name in names]
