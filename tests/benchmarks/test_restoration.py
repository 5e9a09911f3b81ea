"""What the benchmark makes of its numbers, on numbers made by hand."""

import dataclasses
import math

import pytest

from benchmarks.restoration import show
from benchmarks.restoration.measuring import Value, columns
from benchmarks.restoration.suites import SUITES, Claim
from benchmarks.restoration.training import cost, planned
from medjax.experiment import Experiment
from medjax.metrics.column import Column
from medjax.tasks.base import Task, each_axis
from medjax.tasks.exposure import XrayExposure
from medjax.tasks.fmri import FMRISeries
from medjax.tasks.fundus import Fundus
from medjax.tasks.inpainting import Inpainting
from medjax.tasks.ldct import LowDoseCT
from medjax.tasks.mri_motion import MRIMotion

PSNR = Column("psnr", "PSNR", "dB", "high", 2)


def values(**rows: list[float]) -> list[Value]:
    """Rows of two cases; networks (upper case) have two seeds, whose numbers follow each other."""
    found = []
    for row, numbers in rows.items():
        kind = "network" if row.isupper() else "degraded" if row == "input" else "classical"
        for i, number in enumerate(numbers):
            seed = i // 2 if kind == "network" else None
            found.append(Value(row, kind, seed, f"case{i % 2}", 0, {"psnr": number}))
    return found


MEASURED = values(
    input=[20.0, 24.0],
    median=[25.0, 26.0],
    A=[27.0, 28.0, 29.0, 30.0],
    B=[26.0, 28.5, 28.0, 30.5],
)


def test_gains_are_paired_by_case() -> None:
    gained = show.gains(MEASURED)
    assert gained["A"]["input"].mean == pytest.approx((7 + 4 + 9 + 6) / 4)
    assert gained["A"]["median"].mean == pytest.approx((2 + 2 + 4 + 4) / 4)
    assert gained["A"]["median"].cases == 4
    assert set(gained) == {"A", "B"}


def test_networks_are_paired_by_seed_too() -> None:
    settled = show.settle(Claim("A", "B", "psnr"), MEASURED)
    assert settled is not None
    assert settled.difference.mean == pytest.approx((1 - 0.5 + 1 - 0.5) / 4)
    assert settled.holds
    # Two pairs go one way and two the other.
    assert settled.difference.low < 0 < settled.difference.high
    assert "crosses zero" in show.sentence(settled, [PSNR])


def test_a_claim_that_fails_is_printed_as_such() -> None:
    settled = show.settle(Claim("B", "A", "psnr"), MEASURED)
    assert settled is not None and not settled.holds
    assert "DOES NOT HOLD" in show.sentence(settled, [PSNR])


@pytest.mark.parametrize(("after", "holds"), [([9.0, 11.0], True), ([11.0, 11.0], False)])
def test_halving_is_of_the_means(after: list[float], holds: bool) -> None:
    measured = values(input=[20.0, 22.0], C=after)
    settled = show.settle(Claim("C", "", "psnr", "halved"), measured)
    assert settled is not None
    assert settled.ratio == pytest.approx(sum(after) / 42)
    assert settled.holds is holds


def test_a_row_that_was_not_measured_settles_nothing() -> None:
    assert show.settle(Claim("A", "missing", "psnr"), MEASURED) is None


def _samples_seen(plan: Experiment) -> int:
    patch = math.prod(each_axis(plan.data.patch, plan.task.dims))
    return plan.schedule.steps * plan.data.batch * patch


def test_every_suite_names_experiments_that_differ_in_nothing_else_that_counts() -> None:
    for suite in SUITES.values():
        plans = [planned(entry, "cpu", 0, None) for entry in suite.entries]
        assert len({plan.data.name for plan in plans}) == 1
        assert len({_samples_seen(plan) for plan in plans}) == 1
        rows = {entry.name for entry in suite.entries}
        assert {claim.row for claim in suite.claims} <= rows


@pytest.mark.parametrize("setting", ["cpu", "full"])
def test_the_slices_of_volumes_are_filled_by_no_smaller_a_network(setting: str) -> None:
    volumes, slices = (planned(e, setting, 0, None) for e in SUITES["volumes"].entries)
    assert (volumes.task.network_dims, slices.task.network_dims) == (3, 2)
    assert dataclasses.replace(volumes.task, slicewise=True) == slices.task
    for part in ("data", "schedule", "tiling", "loss"):
        assert getattr(volumes, part) == getattr(slices, part)
    costs = [cost(plan, {}) for plan in (volumes, slices)]
    for key in ("parameters", "kilo_flop_per_sample"):
        assert costs[0][key] <= costs[1][key]


@pytest.mark.parametrize(
    "task", [LowDoseCT(), MRIMotion(), FMRISeries(), XrayExposure(), Inpainting(), Fundus()]
)
def test_no_quantity_has_two_columns(task: Task) -> None:
    found = columns(task)
    assert len({c.key for c in found}) == len({c.title for c in found}) == len(found)
