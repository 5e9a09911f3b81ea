"""What is printed and kept of one dose."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.ldct import claims
from benchmarks.ldct.chest import Scene, Stage
from benchmarks.ldct.clinical import FALSE_POSITIVES, columns
from benchmarks.ldct.rows import (
    Against,
    Judged,
    against,
    clinical_table,
    quality_table,
    values_of,
)
from benchmarks.restoration import show
from benchmarks.restoration.training import Network
from medjax.metrics.bootstrap import Interval
from medjax.metrics.column import Column
from medjax.report.table import Results, format_value, to_json, to_rich


class Found(NamedTuple):
    """All that is told of one dose."""

    dose: float
    rows: list[Judged]
    full: Judged
    differences: list[Against | None]
    quality: Results
    clinical: Results
    claims: list[str]


def found(
    stage: Stage, scene: Scene, rows: list[Judged], full: Judged, networks: Sequence[Network]
) -> Found:
    """Tables, intervals and claims of the rows; the first is the low-dose input."""
    title = f"Real chest CT at {scene.dose:.0%} dose"
    quality = quality_table(title, quality_note(stage, scene, rows[0]), rows, networks)
    clinical = clinical_table(f"{title}, what clinicians ask for", clinical_note(stage), rows, full)
    settled = claims.settled(rows, rows[0], full) if scene.dose == claims.DOSE else []
    return Found(scene.dose, rows, full, against(rows, rows[0]), quality, clinical, settled)


def quality_note(stage: Stage, scene: Scene, low: Judged) -> str:
    """What a reader needs to read the first table right."""
    task, (first, last) = stage.task, stage.task.window
    flat = format_value(Column("noise", "noise", digits=1), claims.mean_noise([low]))
    body = np.mean([given.case.noise_std for given in scene.plain])
    return (
        f"{_cases(stage)} Noise of the input: {flat} HU in flat tissue, {body:.1f} HU over the "
        f"body; {task.model.photons:g} photons a ray at full dose, {task.views} views, "
        f"{task.filter} filter. PSNR, SSIM and VIF in [{first:g}, {last:g}] HU against the scan "
        "without noise. The networks learned on heads and an abdomen of other patients with their "
        "experiments' photons; filters are tuned on the same scans and know the true noise level."
    )


def clinical_note(stage: Stage) -> str:
    """What a reader needs to read the second table right."""
    return (
        f"{_cases(stage)} The nodule detector learned on other slices of the same patient at full "
        f"dose; sensitivity at {FALSE_POSITIVES:g} false positive a slice, F1 at the full dose's "
        "threshold. Means over seeds."
    )


def _cases(stage: Stage) -> str:
    slices = dict.fromkeys(stage.slices)
    return (
        f"One chest patient: slices {', '.join(map(str, slices))} with "
        f"{len(stage.probes) // len(slices)} realisations of the noise; other patients may differ."
    )


def printed(told: Found, console: Console) -> None:
    """Both tables, the differences, the claims."""
    console.print(to_rich(told.quality))
    console.print(to_rich(told.clinical))
    table = Table("method", "seed", "lesion d'", "nodule sensitivity", title="minus low-dose FBP")
    for row, other in zip(told.rows, told.differences, strict=True):
        if other is not None:
            seed = row.contender.seed
            table.add_row(
                row.contender.name,
                "–" if seed is None else str(seed),
                _interval(other.dprime),
                _interval(other.sensitivity),
            )
    console.print(table)
    for sentence in told.claims:
        console.print(sentence, highlight=False)


def kept(told: Found) -> dict[str, Any]:
    """The same and every single value, for JSON."""
    gained = show.gains(values_of(told.rows))
    return {
        "dose": told.dose,
        "quality": to_json(told.quality),
        "clinical": to_json(told.clinical),
        "rows": [
            {
                "row": row.contender.name,
                "kind": row.contender.kind,
                "seed": row.contender.seed,
                "clinical": _finite(columns(row.measured, told.full.measured)),
                "minus_low_dose": None
                if other is None
                else {key: _finite(i._asdict()) for key, i in other._asdict().items()},
            }
            for row, other in zip(told.rows, told.differences, strict=True)
        ],
        "gain_db": {
            row: {other: _finite(i._asdict()) for other, i in own.items()}
            for row, own in gained.items()
        },
        "claims": told.claims,
        "values": [
            {**value, "values": _finite(value["values"])}
            for value in show.to_json(values_of(told.rows))
        ],
    }


def _interval(found: Interval) -> str:
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}
