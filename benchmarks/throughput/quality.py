"""PSNR and SSIM of a row's experiment after some steps: speed that restores nothing is none."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.restoration.measuring import CASE_SEED, given
from benchmarks.restoration.training import trained
from benchmarks.throughput.suite import Row
from medjax.data import catalog
from medjax.errors import UserError
from medjax.tasks.base import Task

SHOWN = ("psnr", "ssim")


def judged(row: Row, setting: str, steps: int, runs: Path) -> dict[str, Any]:
    """Trains the row's experiment (its own loss, patch and batch) and judges it on "test".

    A run that is in `runs` already goes on or is opened. Means over the held-out scans, degraded
    once each, beside those of the degraded scans themselves.

    Returns:
      "steps", "restored" and "degraded" with PSNR and SSIM; or "missing", why there are none.
    """
    if not row.judged:
        return {"missing": f"{row.name} generates, it restores no scans"}
    restored, degraded = [], []
    try:
        network = trained(row.entry(setting), setting, 0, steps, runs)
        task = network.experiment.task
        for number, record in enumerate(catalog.load(network.experiment.data.name).split("test")):
            case = task.simulate(record, CASE_SEED + number)
            degraded.append(task.judge(case, case.degraded))
            restored.append(task.judge(case, network.restore(given(network, case))))
    except UserError as error:
        return {"missing": str(error)}
    return {
        "steps": steps,
        "restored": _means(task, restored),
        "degraded": _means(task, degraded),
    }


def _means(task: Task, values: list[dict[str, float]]) -> dict[str, float]:
    keys = [c.key for c in task.columns if c.key in SHOWN]
    return {key: statistics.mean(v[key] for v in values) for key in keys}
