"""A worker in this very process: it trains and judges what the sweep asks for."""

import json
from pathlib import Path

import numpy as np
import pytest

from medjax import run
from medjax.data import catalog
from medjax.errors import UserError
from medjax.experiment import Experiment
from medjax.sweep import crew, page, plan, results, worker
from medjax.sweep import study as studies
from medjax.sweep.plan import Plan
from medjax.sweep.space import Choice, Range

PEAKS = Choice("schedule.peak", ("1e-3", "1e-1"), (1e-3, 1e-1))


def plan_of(toy: str, *choices: Choice, metric: str = "psnr", split: str = "valid") -> Plan:
    return Plan(toy, "cpu", ("--seed", "3"), {"seed": 3}, choices, (), 0, metric, split)


def start(what: Plan, folder: Path) -> None:
    plan.check(what)
    plan.keep(what, folder)
    studies.fill(studies.open_study(what, folder), what, folder)


def test_settings_are_trained_judged_and_reported(toy: str, tmp_path: Path) -> None:
    what = plan_of(toy, PEAKS)
    start(what, tmp_path)
    worker.work(what, tmp_path, worker.train_and_judge)
    settings = studies.listed(studies.open_study(what, tmp_path))
    assert [s.status for s in settings] == ["done", "done"]
    for setting, peak in zip(settings, PEAKS.values, strict=True):
        folder = tmp_path / "trials" / setting.number
        kept = json.loads((folder / "experiment.json").read_text())["experiment"]
        assert kept["schedule"]["peak"] == peak and kept["seed"] == 3
        assert set(setting.cases) == {"valid-0", "valid-1"}
        assert setting.objective == pytest.approx(
            np.mean([case["psnr"] for case in setting.cases.values()])
        )
        # What the sweep saw is what the run folder's checkpoint does to those scans.
        trained = run.open_run(folder, what.experiment(setting.settings))
        record = catalog.load("toy").split("valid")[0]
        case = what.base.task.simulate(record, 3 + worker.SEED_OFFSET)
        restored = trained.restore(case.degraded)
        expected = what.base.task.judge(case, restored)["psnr"]
        assert setting.cases["valid-0"]["psnr"] == pytest.approx(expected, rel=1e-5)

    now = crew.standing(what, tmp_path, settings)
    assert (now.ended, now.total, now.work) == (2, 2, 2)
    found = results.find(what, tmp_path, settings)
    worth = [s.objective for s in found.settings if s.objective is not None]
    assert worth == sorted(worth, reverse=True) and found.best == found.settings[0]
    data = json.loads(results.write(found).read_text())
    peak = found.best.settings["schedule.peak"]
    assert data["best"]["command"] == (
        f"medjax train {toy} --setting cpu --seed 3 --schedule.peak {peak}"
    )
    assert [s["objective"] for s in data["settings"]] == worth
    html = page.write(found, ["medjax <next>"]).read_text()
    assert html.count("<circle") == 2 and "medjax &lt;next&gt;" in html
    assert (
        "default-src 'none'" in html
        and "<script" not in html
        and "http" not in html.split("http-equiv", 1)[1].split("</style>", 1)[1]
    )
    assert html.count("PSNR (dB)") >= 2 and "not for diagnosis" in html


def test_what_a_setting_cannot_do_is_its_own_affair(toy: str, tmp_path: Path) -> None:
    what = plan_of(toy, Choice("seed", ("1", "2", "3"), (1, 2, 3)))
    start(what, tmp_path)

    def trial(_: Plan, experiment: Experiment, folder: Path) -> worker.Outcome:
        if experiment.seed == 1:
            raise UserError("step 4: loss is nan")
        if experiment.seed == 3:
            raise KeyboardInterrupt
        return worker.Outcome(1.0, {"a": {"psnr": 1.0}})

    with pytest.raises(KeyboardInterrupt):
        worker.work(what, tmp_path, trial)
    settings = studies.listed(studies.open_study(what, tmp_path))
    assert [s.status for s in settings] == ["failed", "done", "waiting"]
    found = results.find(what, tmp_path, settings)
    assert [s.number for s in found.settings] == ["1", "0", "2"]
    assert results.remark(found.settings[1]) == "step 4: loss is nan"
    results.write(found)


def test_a_signal_waits_until_the_setting_can_be_given_back(toy: str, tmp_path: Path) -> None:
    what = plan_of(toy, PEAKS)
    start(what, tmp_path)
    interrupts = worker.Interrupts()
    interrupts.handle(15, None)
    with pytest.raises(KeyboardInterrupt):
        worker.work(what, tmp_path, worker.train_and_judge, interrupts)

    def trial(*_: object) -> worker.Outcome:
        interrupts.handle(15, None)
        raise AssertionError("the signal was not heard")

    interrupts = worker.Interrupts()
    with pytest.raises(KeyboardInterrupt):
        worker.work(what, tmp_path, trial, interrupts)
    settings = studies.listed(studies.open_study(what, tmp_path))
    assert [(s.status, s.attempts) for s in settings] == [("waiting", 1), ("waiting", 0)]


@pytest.mark.parametrize("metric", ["error", "level"])
def test_small_is_good_for_some_metrics(toy: str, tmp_path: Path, metric: str) -> None:
    what = plan_of(toy, PEAKS, metric=metric)
    start(what, tmp_path)
    objectives = iter((0.5, 0.25))

    def trial(*_: object) -> worker.Outcome:
        return worker.Outcome(next(objectives), {"a": {metric: 1.0}})

    worker.work(what, tmp_path, trial)
    settings = studies.listed(studies.open_study(what, tmp_path))
    best = results.find(what, tmp_path, settings).best
    assert best is not None and best.objective == 0.25


def test_a_column_with_a_reference_is_judged_by_the_distance_to_it(
    toy: str, tmp_path: Path
) -> None:
    what = plan_of(toy, PEAKS, metric="level")
    outcome = worker.train_and_judge(what, what.base, tmp_path / "run")
    records = catalog.load("toy").split("valid")
    levels = [outcome.cases[r["case"]]["level"] for r in records]
    wanted = [float(np.mean(r["image"])) for r in records]
    assert outcome.objective == pytest.approx(
        np.mean(np.abs(np.subtract(levels, wanted))), rel=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "pnsr"}, "did you mean psnr"),
        ({"metric": "size"}, "does not measure"),
        ({"split": "extra"}, "--valid"),
        ({"overrides": {"data.name": "blind"}}, "dataset blind: has no 'valid' scans"),
        ({"choices": (Choice("data.name", ("toy", "blind"), ("toy", "blind")),)}, "blind"),
        ({"choices": (Choice("network.kernel", ("3", "0"), (3, 0)),)}, "network.kernel=0"),
        ({"choices": (Choice("network.kernel", ("3", "11"), (3, 11)),)}, "network.kernel=11: .*"),
        ({"ranges": (Range("network.kernel", 3, 11, whole=True),)}, "kernel 11: too large"),
        ({"choices": (Choice("schedule.accumulate", ("0",), (0,)),)}, "accumulate"),
    ],
)
def test_bad_plans_are_refused_before_anything_trains(toy: str, changes, expected: str) -> None:
    what = Plan(**{**vars(plan_of(toy, PEAKS)), **changes})
    with pytest.raises(UserError, match=expected):
        plan.check(what)


def test_a_plan_comes_back_as_it_was_kept(toy: str, tmp_path: Path) -> None:
    ranges = (Range("schedule.peak", 1e-4, 1.0, log=True), Range("seed", 1, 5, whole=True))
    choices = (Choice("tiling.size", ("24", "24 32"), (24, (24, 32))),)
    overrides = {"schedule.clip": 1.5, "data.patch": (8, 16)}
    what = Plan(toy, "cpu", ("--x",), overrides, choices, ranges, 7, "psnr", "valid")
    plan.keep(what, tmp_path)
    assert plan.read(tmp_path) == what


def test_a_folder_keeps_one_sweep(toy: str, tmp_path: Path) -> None:
    plan.keep(plan_of(toy, PEAKS), tmp_path)
    plan.keep(plan_of(toy, PEAKS), tmp_path)
    other = Choice("schedule.peak", ("1e-3",), (1e-3,))
    with pytest.raises(UserError, match=r"grid\.schedule\.peak is .* choose another run folder"):
        plan.keep(plan_of(toy, other), tmp_path)
    with pytest.raises(UserError, match="metric"):
        plan.keep(plan_of(toy, PEAKS, metric="error"), tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(UserError, match=r"plan\.json"):
        plan.keep(plan_of(toy, PEAKS), tmp_path)


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("schedule.peak", "0.1", ["--schedule.peak", "0.1"]),
        ("tiling.size", "24 32", ["--tiling.size", "24", "32"]),
        ("tiling.ensemble", "False", ["--tiling.no-ensemble"]),
        ("tiling.ensemble", "true", ["--tiling.ensemble"]),
    ],
)
def test_options_are_written_as_train_reads_them(
    toy: str, field: str, text: str, words: list[str]
) -> None:
    assert plan.option(plan_of(toy, PEAKS).base, field, text) == words


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7, 8}, raising=False)
    assert [set(crew.share(i, 2)) for i in range(2)] == [{2, 5, 8}, {3, 7}]
    assert [set(crew.share(i, 7)) for i in (4, 5, 6)] == [{8}, {2}, {3}]


def test_the_last_step_of_a_run_is_read_from_its_end(tmp_path: Path) -> None:
    assert crew.last_step(tmp_path) == 0
    rows = "".join(json.dumps({"step": i, "metrics": {"loss": 0.1}}) + "\n" for i in range(1, 900))
    (tmp_path / "metrics.jsonl").write_text(rows + '{"step": 90')
    assert crew.last_step(tmp_path) == 899
