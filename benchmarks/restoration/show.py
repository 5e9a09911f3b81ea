"""Tables, gains over the filters, and what became of each claim."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.restoration.measuring import Value
from benchmarks.restoration.suites import Claim
from benchmarks.restoration.training import Network
from medjax.metrics.bootstrap import Interval, difference_interval, mean_interval
from medjax.metrics.column import Column
from medjax.report.table import Results, Row

COST = (
    Column("parameters", "parameters", "", None, 0),
    Column("kilo_flop_per_sample", "kFLOP a sample", "", None, 1),
    Column("images_per_second", "training patches/s", "", None, 1),
    Column("training_seconds", "training", "s", None, 0),
    Column("seconds", "time an image", "s", None, 3),
)


class Settled(NamedTuple):
    """A claim with the numbers that decide it."""

    claim: Claim
    difference: Interval
    ratio: float
    holds: bool | None


def rows_of(values: Sequence[Value]) -> dict[str, list[Value]]:
    """The values of each row, in the order in which rows were measured."""
    found: dict[str, list[Value]] = {}
    for value in values:
        found.setdefault(value.row, []).append(value)
    return found


def table(
    title: str,
    note: str,
    columns: Sequence[Column],
    values: Sequence[Value],
    networks: Sequence[Network],
) -> Results:
    """Means over cases, noise draws and seeds."""
    costs = {n.entry.name: n.cost for n in networks}
    rows = []
    for name, own in rows_of(values).items():
        means: dict[str, float | None] = {c.key: _mean(own, c.key) for c in (*columns, COST[-1])}
        means |= {c.key: costs.get(name, {}).get(c.key) for c in COST[:-1]}
        rows.append(Row(name, means, own[0].kind))
    return Results(title, note, (*columns, *COST), tuple(rows))


def intervals(values: Sequence[Value], columns: Sequence[Column]) -> dict[str, dict[str, Interval]]:
    """Mean and 95 % bootstrap interval of each row and column over cases, noise and seeds."""
    return {
        name: {
            c.key: mean_interval(numbers)
            for c in columns
            if (numbers := [v.values[c.key] for v in own if _finite(v, c.key)])
        }
        for name, own in rows_of(values).items()
    }


def gains(values: Sequence[Value], key: str = "psnr") -> dict[str, dict[str, Interval]]:
    """By how much each network is above the input and each filter, in dB, case by case."""
    rows = rows_of(values)
    networks = [n for n, own in rows.items() if own[0].kind == "network"]
    others = [n for n, own in rows.items() if own[0].kind in ("degraded", "classical")]
    return {
        network: {other: _difference(rows[network], rows[other], key) for other in others}
        for network in networks
    }


def settle(claim: Claim, values: Sequence[Value]) -> Settled | None:
    """A claim on these values; None where one of its rows or its column was not measured.

    An empty `than` is the degraded input.
    """
    rows = rows_of(values)
    than = claim.than or next(n for n, own in rows.items() if own[0].kind == "degraded")
    if claim.row not in rows or than not in rows:
        return None
    own, other = _mean(rows[claim.row], claim.column), _mean(rows[than], claim.column)
    if own is None or other is None:
        return None
    difference = _difference(rows[claim.row], rows[than], claim.column)
    ratio = own / other if other else float("nan")
    holds = {
        "above": difference.mean > 0,
        "below": difference.mean < 0,
        "halved": ratio <= 0.5,
        "cost": None,
    }[claim.kind]
    return Settled(claim, difference, ratio, holds)


def sentence(settled: Settled, columns: Sequence[Column]) -> str:
    """The claim in words, with its numbers, whether it holds or not."""
    claim, found = settled.claim, settled.difference
    column = next(c for c in columns if c.key == claim.column)
    unit = f" {column.unit}" if column.unit else ""
    than = claim.than or "the input"
    digits = max(column.digits, 2)
    spread = f"[{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    crosses = not (found.low > 0 or found.high < 0)
    verdict = {True: "holds", False: "DOES NOT HOLD", None: "is the price"}[settled.holds]
    if settled.holds and claim.kind != "halved" and crosses:
        verdict += " in the mean, but the interval crosses zero"
    extra = f", {settled.ratio:.2f} times" if claim.kind == "halved" else ""
    return (
        f"{claim.row} minus {than}, {column.title}: {found.mean:+.{digits}f}{unit} {spread} "
        f"over {found.cases} pairs{extra}: {verdict}"
    )


def to_json(values: Sequence[Value]) -> list[dict[str, Any]]:
    """One row of JSON a restoration."""
    return [{**v._asdict(), "values": dict(v.values)} for v in values]


def _difference(own: Sequence[Value], other: Sequence[Value], key: str) -> Interval:
    """Paired by case and noise, and by seed where both rows have seeds."""
    index: Mapping[tuple[str, int, int | None], Value] = {
        (v.case, v.draw, v.seed): v for v in other
    }
    pairs = []
    for value in own:
        partner = index.get((value.case, value.draw, value.seed)) or index.get(
            (value.case, value.draw, None)
        )
        if partner is not None and _finite(value, key) and _finite(partner, key):
            pairs.append((value.values[key], partner.values[key]))
    if not pairs:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    a, b = zip(*pairs, strict=True)
    return difference_interval(a, b)


def _finite(value: Value, key: str) -> bool:
    return key in value.values and bool(np.isfinite(value.values[key]))


def _mean(values: Sequence[Value], key: str) -> float | None:
    numbers = [v.values[key] for v in values if _finite(v, key)]
    return float(np.mean(numbers)) if numbers else None
