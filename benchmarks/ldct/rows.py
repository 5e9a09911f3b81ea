"""What is measured of one method at one dose, and the tables of all of them."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.ldct.chest import Scene, Stage
from benchmarks.ldct.clinical import (
    COLUMNS,
    Measured,
    columns,
    lesion_difference,
    measure,
    sensitivity_difference,
)
from benchmarks.ldct.suite import Contender
from benchmarks.restoration import show
from benchmarks.restoration.measuring import COMMON, Value
from benchmarks.restoration.training import Network
from medjax.metrics.bootstrap import Interval
from medjax.metrics.column import Column
from medjax.metrics.vif import SMALLEST, vif
from medjax.report.table import Results, Row
from medjax.tasks.base import Case
from medjax.tasks.ldct import LowDoseCT

QUALITY: tuple[Column, ...] = tuple(
    column
    for column in (*LowDoseCT.columns, *COMMON)
    if column.key in ("psnr", "ssim", "vif", "rmse_hu", "noise_hu")
)


class Judged(NamedTuple):
    """One method at one dose.

    Attributes:
      contender: whom.
      values: of each probe's plain version.
      measured: what the probes tell.
    """

    contender: Contender
    values: list[Value]
    measured: Measured


class Against(NamedTuple):
    """Paired differences to the low-dose input on the same probes."""

    dprime: Interval
    sensitivity: Interval


def judge(contender: Contender, scene: Scene, stage: Stage) -> Judged:
    """Restores both versions of all probes and measures what came out."""
    # The first call of a network compiles.
    contender.restore(scene.plain[0])
    plain, values = [], []
    for probe, given in zip(stage.probes, scene.plain, strict=True):
        begin = time.perf_counter()
        restored = contender.restore(given)
        seconds = time.perf_counter() - begin
        plain.append(restored)
        found = {**quality(stage.task, given.case, restored), "seconds": seconds}
        row = (contender.name, contender.kind, contender.seed)
        values.append(Value(*row, given.case.name, probe.repeat, found))
    marked = [contender.restore(given) for given in scene.marked]
    measured = measure(stage.probes, np.stack(marked), np.stack(plain), stage.detector)
    return Judged(contender, values, measured)


def quality(task: LowDoseCT, case: Case, restored: np.ndarray) -> dict[str, float]:
    """The task's own columns and VIF in the display window."""
    low, high = task.display
    inside = [np.clip(x, low, high)[None, ..., None] for x in (restored, case.reference)]
    found = task.judge(case, restored)
    if min(case.reference.shape) >= SMALLEST:
        found["vif"] = float(vif(*inside, data_range=high - low)[0])
    return found


def against(rows: Sequence[Judged], low: Judged) -> list[Against | None]:
    """How each row differs from the low-dose input; None for the input itself."""
    return [
        None
        if row is low
        else Against(
            lesion_difference(row.measured, low.measured),
            sensitivity_difference(row.measured, low.measured),
        )
        for row in rows
    ]


def quality_table(
    title: str, note: str, rows: Sequence[Judged], networks: Sequence[Network]
) -> Results:
    """Means over probes and seeds, and what each network costs."""
    return show.table(title, note, QUALITY, values_of(rows), networks)


def clinical_table(title: str, note: str, rows: Sequence[Judged], full: Judged) -> Results:
    """Means over seeds of what the probes tell."""
    by_name: dict[str, list[Judged]] = {}
    for row in rows:
        by_name.setdefault(row.contender.name, []).append(row)
    return Results(
        title,
        note,
        COLUMNS,
        tuple(
            Row(name, mean_clinical(own, full), own[0].contender.kind)
            for name, own in by_name.items()
        ),
    )


def mean_clinical(own: Sequence[Judged], full: Judged) -> Mapping[str, float | None]:
    """Of the seeds of one row; None where there was nothing to measure under one of them."""
    found = [columns(row.measured, full.measured) for row in own]
    means = {c.key: float(np.mean([f[c.key] for f in found])) for c in COLUMNS}
    return {key: value if np.isfinite(value) else None for key, value in means.items()}


def values_of(rows: Sequence[Judged]) -> list[Value]:
    """All values, row after row."""
    return [value for row in rows for value in row.values]
