"""Judges every row of a suite on the same held-out cases."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.restoration.training import Network, sees_rays
from medjax.baselines.filters import named
from medjax.data import catalog
from medjax.evaluate import tuned
from medjax.losses.ssim import MS_SSIM_WEIGHTS, WINDOW
from medjax.metrics.column import Column, Kind
from medjax.metrics.perceptual import perceptual_distance
from medjax.metrics.quality import mae, ms_ssim, rmse
from medjax.metrics.vif import SMALLEST, vif
from medjax.tasks.base import Case, Record, Task

COMMON = (
    Column("ms_ssim", "MS-SSIM", "", "high", 4),
    Column("vif", "VIF", "", "high", 3),
    Column("perceptual", "perceptual distance", "", "low", 4),
    Column("rmse", "RMSE", "", "low", 4),
    Column("mae", "MAE", "", "low", 4),
)
# Other noise than any that training or tuning saw.
CASE_SEED = 2_000_000
# MS-SSIM halves the image four times and needs its window there.
MS_SSIM_SIDE = (WINDOW - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1


class Value(NamedTuple):
    """All that was measured of one restoration."""

    row: str
    kind: Kind
    seed: int | None
    case: str
    draw: int
    values: Mapping[str, float]


def columns(task: Task) -> tuple[Column, ...]:
    """The task's own columns, then those common to all tasks."""
    known = {c.title for c in task.columns} | {c.key for c in task.columns}
    more = (
        dataclasses.replace(c, unit=task.unit) if c.key in ("rmse", "mae") else c for c in COMMON
    )
    return (*task.columns, *(c for c in more if not {c.title, c.key} & known))


def measured(
    task: Task,
    dataset: str,
    splits: Sequence[str],
    filters: Sequence[str],
    networks: Sequence[Network],
    draws: int,
) -> Iterator[Value]:
    """Every filter and network on every held-out scan, each degraded `draws` times."""
    data = catalog.load(dataset)
    training = data.split("train")[:2]
    rivals = tuned(named(filters, task.display), task, training, CASE_SEED - 1)
    for case, draw in _cases(task, [r for s in splits for r in data.split(s)], draws):

        def judged(
            row: str,
            kind: Kind,
            seed: int | None,
            restore: Callable[[], np.ndarray],
            case: Case = case,
            draw: int = draw,
        ) -> Value:
            begin = time.perf_counter()
            restored = restore()
            seconds = time.perf_counter() - begin
            values = {**common(task, case, restored), **task.judge(case, restored)}
            return Value(row, kind, seed, case.name, draw, {**values, "seconds": seconds})

        yield judged(task.degraded_name, "degraded", None, lambda case=case: case.degraded)
        for baseline in rivals:
            run = functools.partial(baseline.run, case.degraded, case.noise_std)
            yield judged(baseline.name, "classical", None, run)
        for name, correct in case.corrections.items():
            yield judged(name, "classical", None, correct)
        for network in networks:
            restore = functools.partial(network.restore, given(network, case))
            # The first call compiles; seconds are those of the second.
            if draw == 0:
                restore()
            yield judged(network.entry.name, "network", network.seed, restore)


def given(network: Network, case: Case) -> Any:
    """The case's input; for networks of the image alone no projections, should it have some."""
    rays = isinstance(case.given, Mapping) and not sees_rays(network)
    return case.degraded if rays else case.network_input


def _cases(task: Task, records: Sequence[Record], draws: int) -> Iterator[tuple[Case, int]]:
    for number, record in enumerate(records):
        for draw in range(draws):
            yield task.simulate(record, CASE_SEED + number * draws + draw), draw


def common(task: Task, case: Case, restored: np.ndarray) -> dict[str, float]:
    """MS-SSIM, VIF, perceptual distance in the display window; RMSE and MAE over all values."""
    low, high = task.display
    whole = [x[None, ..., None] for x in (restored, case.reference)]
    inside = [np.clip(x, low, high) for x in whole]
    # 4-D series are compared volume by volume.
    if case.reference.ndim == 4:
        inside = [x[0] for x in inside]
    values = {
        "rmse": float(rmse(*whole)[0]),
        "mae": float(mae(*whole)[0]),
        "perceptual": float(
            np.mean(perceptual_distance(*inside, data_range=high - low, black=low))
        ),
    }
    shape = inside[0].shape[1:-1]
    if min(shape[-2:]) >= SMALLEST:
        values["vif"] = float(np.mean(vif(*inside, data_range=high - low)))
    if min(shape) >= MS_SSIM_SIDE:
        values["ms_ssim"] = float(np.mean(ms_ssim(*inside, data_range=high - low)))
    return values
