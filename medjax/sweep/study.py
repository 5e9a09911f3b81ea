"""The settings of a sweep in Optuna's database: handed out, taken back, tried again.

A setting is one combination of values with one run folder; Optuna counts every attempt at it as a
trial. Whoever works on a setting holds a lock that the kernel lets go of however the process ends,
so a killed attempt is noticed at once and a slow or suspended one is never mistaken for dead, as
it is by heartbeats (optuna issues 4234 and 5470). Another attempt then goes on in the same folder.
"""

import contextlib
import dataclasses
import fcntl
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from medjax.sweep import space
from medjax.sweep.plan import Plan, column
from medjax.sweep.space import Settings

DATABASE = "study.db"
TRIALS = "trials"
LOCKS = "locks"
DEATHS = 3
"""Attempts at a setting that may end without a word before it is given up."""
Status = Literal["waiting", "running", "done", "failed", "lost"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One combination of values and what became of it.

    Attributes:
      number: name of its run folder under trials/.
      settings: the values of the varied fields.
      status: "failed" tells why in `problem`; "lost" has killed its worker too often.
      objective: what the sweep makes large or small; None unless done.
      values: means over the scans, by the columns of the task.
      cases: the same for every scan, by its name.
      problem: why it failed.
      attempts: how often it was started.
      seconds: spent on it in all attempts that ended.
    """

    number: str
    settings: Settings
    status: Status
    objective: float | None
    values: Mapping[str, float]
    cases: Mapping[str, Mapping[str, float]]
    problem: str
    attempts: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Taken:
    """A setting that this process works on now."""

    trial: optuna.Trial
    number: str
    settings: Settings


def open_study(plan: Plan, folder: Path) -> optuna.Study:
    """The sweep's study; it is made if it is not there yet."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = sqlalchemy.URL.create("sqlite", database=str(folder / DATABASE)).render_as_string()
    storage = optuna.storages.RDBStorage(
        # Optuna fills in {braces} of its own.
        url.replace("{", "{{").replace("}", "}}"),
        engine_kwargs={"connect_args": {"timeout": 60}},
    )
    return optuna.create_study(
        study_name="sweep",
        storage=storage,
        direction="maximize" if column(plan).better == "high" else "minimize",
        load_if_exists=True,
    )


def fill(study: optuna.Study, plan: Plan, folder: Path) -> None:
    """Queues what is to be tried: new settings of a grid, and lost ones once more."""
    with _locked(folder / LOCKS / "queue"):
        known = {s.number: s for s in listed(study)}
        if not plan.ranges:
            for number, chosen in enumerate(space.grid(plan.choices)):
                if str(number) not in known:
                    _enqueue(study, str(number), chosen, deaths=0)
        for setting in known.values():
            if setting.status == "lost":
                _enqueue(study, setting.number, setting.settings, deaths=0)


@contextlib.contextmanager
def take(study: optuna.Study, plan: Plan, folder: Path) -> Iterator[Taken | None]:
    """The next setting, held while the block lasts; None where there is none to take now."""
    with contextlib.ExitStack() as held:
        with _locked(folder / LOCKS / "queue"):
            _revive(study, folder)
            taken = _next(study, plan)
            if taken is not None:
                held.enter_context(_locked(folder / LOCKS / taken.number))
        yield taken


def done(
    study: optuna.Study,
    taken: Taken,
    objective: float,
    cases: Mapping[str, Mapping[str, float]],
) -> None:
    """Records a setting's result; one that is no number counts as failed."""
    if not math.isfinite(objective):
        failed(study, taken, f"the metric is {objective}")
        return
    taken.trial.set_user_attr("cases", {name: dict(case) for name, case in cases.items()})
    study.tell(taken.trial, objective)


def failed(study: optuna.Study, taken: Taken, problem: str) -> None:
    """Records that a setting cannot be trained; it is not tried again."""
    taken.trial.set_user_attr("problem", problem)
    study.tell(taken.trial, state=TrialState.FAIL)


def put_back(study: optuna.Study, taken: Taken) -> None:
    """Gives a setting back that was stopped on purpose, for whoever comes next."""
    taken.trial.set_user_attr("stopped", True)
    study.tell(taken.trial, state=TrialState.FAIL)


def listed(study: optuna.Study) -> list[Setting]:
    """Every setting so far, in the order of their first attempts."""
    attempts: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "run" in trial.user_attrs:
            attempts.setdefault(trial.user_attrs["run"], []).append(trial)
    return [_setting(number, trials) for number, trials in attempts.items()]


def unfinished(settings: Sequence[Setting]) -> bool:
    """Whether any of them waits or runs."""
    return any(setting.status in ("waiting", "running") for setting in settings)


def _setting(number: str, trials: Sequence[FrozenTrial]) -> Setting:
    last = trials[-1]
    cases = last.user_attrs.get("cases", {})
    keys = next(iter(cases.values()), {})
    spans = [(t.datetime_start, t.datetime_complete) for t in trials]
    return Setting(
        number=number,
        settings=last.params or last.system_attrs.get("fixed_params", {}),
        status=_status(last),
        objective=last.value if last.state == TrialState.COMPLETE else None,
        values={key: fmean(case[key] for case in cases.values()) for key in keys},
        cases=cases,
        problem=last.user_attrs.get("problem", ""),
        attempts=sum(t.state != TrialState.WAITING for t in trials),
        seconds=sum((end - start).total_seconds() for start, end in spans if start and end),
    )


def _status(last: FrozenTrial) -> Status:
    if last.state == TrialState.COMPLETE:
        return "done"
    if last.state == TrialState.RUNNING:
        return "running"
    if "problem" in last.user_attrs:
        return "failed"
    given_up = last.state == TrialState.FAIL and _deaths(last) >= DEATHS
    return "lost" if given_up else "waiting"


def _deaths(trial: FrozenTrial) -> int:
    """Attempts up to this failed one that ended without a word."""
    return trial.user_attrs.get("deaths", 0) + ("stopped" not in trial.user_attrs)


def _revive(study: optuna.Study, folder: Path) -> None:
    """Fails the attempts whose process is gone; queues what nobody works on again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        number = trial.user_attrs.get("run")
        # An attempt gets its number under the queue's lock, which we hold.
        if number is None or not _is_held(folder / LOCKS / number):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    newest = {t.user_attrs.get("run"): t for t in study.get_trials(deepcopy=False)}
    for number, trial in newest.items():
        if number is not None and trial.state == TrialState.FAIL and _status(trial) == "waiting":
            _enqueue(study, number, trial.params, _deaths(trial))


def _enqueue(study: optuna.Study, number: str, settings: Settings, deaths: int) -> None:
    study.enqueue_trial(dict(settings), user_attrs={"run": number, "deaths": deaths})


def _next(study: optuna.Study, plan: Plan) -> Taken | None:
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    count = len(listed(study))
    if not waiting and not (plan.ranges and count < plan.trials):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A seed of its own for each setting: a sweep that goes on must not repeat its draws.
        study.sampler = optuna.samplers.TPESampler(
            seed=plan.base.seed + count, multivariate=True, constant_liar=True
        )
    trial = study.ask()
    settings = _suggested(trial, plan)
    if "run" not in trial.user_attrs:
        trial.set_user_attr("run", str(count))
    return Taken(trial, trial.user_attrs["run"], settings)


def _suggested(trial: optuna.Trial, plan: Plan) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        c.field: trial.suggest_categorical(c.field, c.texts) for c in plan.choices
    }
    for r in plan.ranges:
        if r.whole:
            chosen[r.field] = trial.suggest_int(r.field, int(r.low), int(r.high), log=r.log)
        else:
            chosen[r.field] = trial.suggest_float(r.field, r.low, r.high, log=r.log)
    return chosen


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock; waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_held(path: Path) -> bool:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
