"""What the commands do with an experiment: train it, judge it, keep both in a run folder."""

import dataclasses
import functools
import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32

from medjax.baselines.filters import named
from medjax.data import catalog, pipeline
from medjax.errors import UserError
from medjax.evaluate import Judged, contenders, ensemble, judge, restore_tiled, tuned
from medjax.experiment import Experiment, Schedule, read, to_dict
from medjax.io.common import atomic
from medjax.methods.base import Method, Pair
from medjax.metrics.column import Column, Kind
from medjax.report import table as tables
from medjax.report.cases import CasePictures
from medjax.report.html import write_report
from medjax.report.picture import Window
from medjax.report.verdict import verdict
from medjax.tasks.base import Task, each_axis
from medjax.train import mesh as meshes
from medjax.train.checkpoint import Checkpoints
from medjax.train.loop import CHECKPOINTS, FitResult, fit
from medjax.train.progress import Progress
from medjax.train.schedule import cosine, cosine_restarts
from medjax.train.writers import read_metrics

_log = logging.getLogger(__name__)
EXPERIMENT = "experiment.json"
RESULTS = "results.json"
PACE = "pace.json"
REPORT = "report.html"


def method_of(experiment: Experiment) -> Method:
    """The experiment's network, optimiser, loss and method, put together."""
    optimizer = optimizer_of(experiment.schedule)
    return experiment.method.build(experiment.network.build(), optimizer, experiment.loss.build())


def optimizer_of(plan: Schedule) -> optax.GradientTransformation:
    """Adam along the schedule; with `accumulate` it moves once every so many batches."""
    moves = plan.steps // plan.accumulate
    if plan.restart_every:
        rate = cosine_restarts(plan.restart_every // plan.accumulate, peak=plan.peak, end=plan.end)
    else:
        rate = cosine(moves, peak=plan.peak, end=plan.end, warmup=plan.warmup // plan.accumulate)
    clip = [optax.clip_by_global_norm(plan.clip)] if plan.clip else []
    optimizer = optax.chain(*clip, optax.adam(rate))
    if plan.accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, plan.accumulate).gradient_transformation()


def fold(x: Array, space: int) -> Array:
    """`[batch, *leading, *space, channel]` with the leading axes joined to the batch."""
    return x.reshape(-1, *x.shape[-space - 1 :])


def train(experiment: Experiment, folder: Path) -> FitResult:
    """Trains the experiment in `folder`, from its newest checkpoint if it has one.

    Raises:
      UserError: the dataset is unknown, or the folder holds another experiment.
    """
    task, data = experiment.task, experiment.data
    records = catalog.load(data.name).split("train")
    task.check(records[0])
    method = method_of(experiment)
    mesh = meshes.make(experiment.devices or None)
    patch = each_axis(data.patch, task.dims)
    if records[0]["image"].ndim != task.dims:
        raise UserError(
            f"dataset {data.name}: its scans have {records[0]['image'].ndim} axes; this experiment "
            f"takes {task.dims}: medjax data prepare ... --dims {task.dims}"
        )
    patch = tuple(p + 2 * m for p, m in zip(patch, task.margin(patch), strict=True))
    batches = pipeline.batches(
        records,
        batch_size=data.batch // jax.process_count(),
        patch=patch,
        seed=experiment.seed,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        threads=data.threads,
        context=functools.partial(task.context, patch=patch),
    )
    description = describe(experiment)
    if not any((folder / CHECKPOINTS).glob("[0-9]*")):
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / EXPERIMENT, description)

    def pair(raw: dict[str, Array], key: Array) -> Pair:
        return Pair(*(fold(x, task.network_dims) for x in task.prepare(raw, key)))

    def init(key: Array, raw: dict[str, Array]) -> Any:
        return method.init(key, pair(raw, key))

    def step(state: Any, raw: dict[str, Array], key: Array) -> Any:
        prepare_key, step_key = jax.random.split(key)
        return method.step(state, pair(raw, prepare_key), step_key)

    with Progress(shown=("loss", "pixel")) as progress:
        return fit(
            init=init,
            step=step,
            batches=batches,
            run=folder,
            identity=identity(experiment),
            seed=experiment.seed,
            steps=experiment.schedule.steps,
            save_every=experiment.keep.save_every,
            log_every=experiment.keep.log_every,
            mesh=mesh,
            images_per_batch=data.batch,
            experiment=description,
            keep_latest=experiment.keep.checkpoints,
            reporter=progress,
        )


def identity(experiment: Experiment) -> dict[str, Any]:
    """What decides the trained weights; where files go and how tiles are cut does not."""
    chosen = to_dict(experiment)
    return {k: v for k, v in chosen.items() if k not in ("kind", "summary", "keep", "tiling")}


def describe(experiment: Experiment) -> dict[str, Any]:
    """The resolved experiment with versions and device, as experiment.json holds it."""
    names = ("medjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    device = jax.devices()[0]
    return {
        "experiment": to_dict(experiment),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
        "dataset": dataclasses.asdict(catalog.load(experiment.data.name).info),
    }


Restore = Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]]


class Trained(NamedTuple):
    """A run opened for use."""

    experiment: Experiment
    step: int
    restore: Restore
    """`[*space]` in the task's unit to the same, in overlapping tiles."""
    draw: Callable[[int], Restore] | None
    """`draw(seed)` restores at random, each seed otherwise, where the method can."""
    state: Any


def open_run(folder: Path, experiment: Experiment | None = None) -> Trained:
    """The newest good checkpoint of a run folder as a function on physical values.

    Args:
      folder: that `train` filled.
      experiment: as it was trained, where its classes are not medjax's own; by default what
        the folder's experiment.json says.

    Raises:
      UserError: the folder is no run, or has no checkpoint that verifies.
    """
    experiment = experiment or read(folder / EXPERIMENT)
    task, method = experiment.task, method_of(experiment)
    blank = jnp.zeros((1, *each_axis(experiment.data.patch, task.dims), 1))

    def encode(x: Array) -> Array:
        return fold(task.encode(x), task.network_dims)

    like = jax.eval_shape(
        lambda key, x: method.init(key, Pair(encode(x), fold(x, task.network_dims))),
        jax.random.key(0),
        blank,
    )
    mesh = meshes.make(1)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        like,
        meshes.state_sharding(mesh, like),
    )
    with Checkpoints(folder / CHECKPOINTS, identity=None, read_only=True) as checkpoints:
        found = checkpoints.restore_state("newest", like)

    def decode(folded: Array, tiles: Array) -> Array:
        return task.decode(folded.reshape(*tiles.shape[:-1], folded.shape[-1]))

    @jax.jit
    def restore_tiles(state: Any, tiles: Array) -> Array:
        def once(tiles: Array) -> Array:
            return decode(method.restore(state, encode(tiles)), tiles)

        return ensemble(once, tiles) if experiment.tiling.ensemble else once(tiles)

    @jax.jit
    def draw_tiles(state: Any, tiles: Array, key: Array) -> Array:
        assert method.draw is not None
        return decode(method.draw(state, encode(tiles), key), tiles)

    def tiled(restore: Callable[[Array], Array]) -> Restore:
        return lambda image: restore_tiled(restore, image, experiment.tiling)

    def draw(seed: int) -> Restore:
        key = jax.random.key(seed)
        # One key for all tiles: where they overlap they then show the same draw more nearly.
        return tiled(lambda tiles: draw_tiles(found.state, tiles, key))

    return Trained(
        experiment,
        found.step,
        tiled(lambda tiles: restore_tiles(found.state, tiles)),
        None if method.draw is None else draw,
        found.state,
    )


def write_pace(folder: Path, result: FitResult) -> None:
    """Keeps how fast the run trained, to be shown beside its results."""
    pace = {
        "step_seconds": result.step_seconds,
        "images_per_second": result.images_per_second,
        "compile_seconds": result.compile_seconds,
        "device": jax.devices()[0].device_kind,
    }
    _write_json(folder / PACE, pace)


def read_pace(folder: Path) -> dict[str, Any] | None:
    """What `write_pace` kept, or None."""
    path = folder / PACE
    return json.loads(path.read_text()) if path.is_file() else None


def evaluate(folder: Path, run: Trained) -> tables.Results:
    """Judges a run beside the classical filters on held-out scans; writes results and report.

    Args:
      folder: the run folder that receives results.json and report.html.
      run: from `open_run`.
    """
    experiment, task = run.experiment, run.experiment.task
    dataset = catalog.load(experiment.data.name)
    held_out = dataset.split("test")
    # Other noise than any the training or the tuning saw.
    seed = experiment.seed + 1_000_000
    filters = tuned(
        named(task.filters, task.display), task, dataset.split("train")[:2], seed + 500_000
    )
    network = experiment.method.label
    rows = contenders(task, filters, (network, run.restore))
    judged = tuple(judge(task, held_out, rows, seed))
    kinds: dict[str, Kind] = {
        task.reference_name: "reference",
        **{row.name: row.kind for row in rows},
    }
    results = _results(task, judged, kinds)
    kept = {
        "results": tables.to_json(results),
        "verdict": verdict(results, network),
        "step": run.step,
        "training": read_pace(folder),
        "filters": {f.name: dict(f.parameters) for f in filters},
    }
    _write_json(folder / RESULTS, kept)
    write_report(
        folder / REPORT,
        title=f"medjax: {experiment.name}",
        results=results,
        judged=network,
        cases=[_pictures(task, j) for j in judged[:4]],
        history=read_metrics(folder),
        experiment=json.loads((folder / EXPERIMENT).read_text()),
        next_steps=[f"medjax restore {folder} INPUT OUTPUT"],
    )
    return results


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2))


def _results(task: Task, judged: Sequence[Judged], kinds: Mapping[str, Kind]) -> tables.Results:
    seconds = Column("seconds", "time an image", "s", None, 2)
    columns = (*task.columns, seconds)
    rows = []
    for name in [*(n for n in kinds if n != task.reference_name), task.reference_name]:
        cases = tuple({c.key: j.values[name].get(c.key) for c in columns} for j in judged)
        means = {c.key: _mean([case[c.key] for case in cases]) for c in columns}
        rows.append(tables.Row(name, means, kinds[name], cases))
    return tables.Results(
        task.title, task.note, columns, tuple(rows), tuple(j.case.name for j in judged)
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _pictures(task: Task, judged: Judged) -> CasePictures:
    low, high = task.display
    case, images, spacing = judged.case, judged.images, judged.case.spacing
    if task.dims == 4:
        # Of a series, the volume that suffered most.
        error = np.abs(case.degraded - case.reference).mean(axis=(1, 2, 3))
        images = {name: image[int(error.argmax())] for name, image in images.items()}
        spacing = None if spacing is None else spacing[1:]
    return CasePictures(
        case_id=case.name,
        images=images,
        reference=task.reference_name,
        window=Window(low, high, task.unit),
        spacing=spacing,
    )
