"""The settings' queue: handed out once each, tried again after a death, never for ever."""

import math
from pathlib import Path

import pytest

from medjax.sweep import study as studies
from medjax.sweep.plan import Plan
from medjax.sweep.space import Choice, Range
from medjax.sweep.study import DEATHS, Setting

PEAKS = Choice("schedule.peak", ("0.1", "0.01"), (0.1, 0.01))
SEEDS = Choice("seed", ("1", "2"), (1, 2))


def plan_of(toy: str, *varied: Choice | Range, trials: int = 0) -> Plan:
    return Plan(
        source=toy,
        setting="cpu",
        words=(),
        overrides={},
        choices=tuple(v for v in varied if isinstance(v, Choice)),
        ranges=tuple(v for v in varied if isinstance(v, Range)),
        trials=trials,
        metric="psnr",
        split="valid",
    )


def only(settings: list[Setting], number: str) -> Setting:
    return next(s for s in settings if s.number == number)


def test_a_grid_is_handed_out_once_each(toy: str, tmp_path: Path) -> None:
    plan = plan_of(toy, PEAKS, SEEDS)
    study = studies.open_study(plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    seen = []
    for _ in range(4):
        with studies.take(study, plan, tmp_path) as taken:
            assert taken is not None
            seen.append((taken.number, taken.settings["schedule.peak"], taken.settings["seed"]))
            studies.done(study, taken, 1.0, {"a": {"psnr": 1.0}, "b": {"psnr": 2.0}})
    assert seen == [
        ("0", "0.1", "1"),
        ("1", "0.1", "2"),
        ("2", "0.01", "1"),
        ("3", "0.01", "2"),
    ]
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is None
    settings = studies.listed(study)
    assert [s.status for s in settings] == ["done"] * 4
    assert settings[0].values == {"psnr": 1.5}


def test_two_who_ask_at_once_get_different_settings(toy: str, tmp_path: Path) -> None:
    plan = plan_of(toy, PEAKS)
    first, second = (studies.open_study(plan, tmp_path) for _ in range(2))
    studies.fill(first, plan, tmp_path)
    with (
        studies.take(first, plan, tmp_path) as one,
        studies.take(second, plan, tmp_path) as other,
        studies.take(second, plan, tmp_path) as none,
    ):
        assert one is not None and other is not None and none is None
        assert {one.number, other.number} == {"0", "1"}
        assert studies.unfinished(studies.listed(second))


def test_a_death_is_noticed_and_the_setting_given_up_in_the_end(toy: str, tmp_path: Path) -> None:
    plan = plan_of(toy, PEAKS)
    study = studies.open_study(plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    for attempt in range(1, DEATHS + 1):
        # Leaving the block without a word is what a killed worker does.
        with studies.take(study, plan, tmp_path) as taken:
            assert taken is not None
            if attempt == 1:
                studies.done(study, taken, 1.0, {})
        if attempt == 1:
            assert taken.number == "0"
            with studies.take(study, plan, tmp_path) as taken:
                assert taken is not None
        assert taken.number == "1" and taken.settings == {"schedule.peak": "0.01"}
        assert only(studies.listed(study), "1").attempts == attempt
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is None
    assert [s.status for s in studies.listed(study)] == ["done", "lost"]
    # The next session tries it afresh, and leaves what is done alone.
    studies.fill(study, plan, tmp_path)
    assert [s.status for s in studies.listed(study)] == ["done", "waiting"]


def test_a_stop_on_purpose_is_no_death(toy: str, tmp_path: Path) -> None:
    plan = plan_of(toy, SEEDS)
    study = studies.open_study(plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    for _ in range(DEATHS + 2):
        with studies.take(study, plan, tmp_path) as taken:
            assert taken is not None
            studies.put_back(study, taken)
    assert [s.status for s in studies.listed(study)] == ["waiting", "waiting"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_failed_setting_says_why_and_stays_failed(toy: str, tmp_path: Path, value: float) -> None:
    plan = plan_of(toy, SEEDS)
    study = studies.open_study(plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is not None
        studies.failed(study, taken, "diverged at step 3")
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is not None
        studies.done(study, taken, value, {"a": {"psnr": value}})
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is None
    first, second = studies.listed(study)
    assert (first.status, first.problem) == ("failed", "diverged at step 3")
    assert second.status == "failed" and str(value) in second.problem


def test_ranges_are_searched_towards_the_better_side(toy: str, tmp_path: Path) -> None:
    plan = plan_of(
        toy, Range("schedule.peak", 1e-4, 1.0, log=True), Range("seed", 0, 5, whole=True), trials=30
    )
    study = studies.open_study(plan, tmp_path)
    studies.fill(study, plan, tmp_path)
    peaks = []
    for _ in range(plan.trials):
        with studies.take(study, plan, tmp_path) as taken:
            assert taken is not None
            peak, seed = taken.settings["schedule.peak"], taken.settings["seed"]
            assert isinstance(peak, float) and isinstance(seed, int)
            assert 1e-4 <= peak <= 1 and 0 <= seed <= 5
            peaks.append(math.log10(peak))
            studies.done(study, taken, -abs(peaks[-1] + 2), {})
    with studies.take(study, plan, tmp_path) as taken:
        assert taken is None
    assert len(set(peaks)) == plan.trials
    late = [abs(p + 2) for p in peaks[15:]]
    # A uniform draw lies 1 away on average.
    assert sum(late) / len(late) < 0.7
    experiment = plan.experiment(studies.listed(study)[0].settings)
    assert math.log10(experiment.schedule.peak) == peaks[0]
