"""What the commands do with an experiment: train it, judge it, keep both in a run folder."""

import dataclasses
import functools
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32

from medjax.baselines.filters import standard
from medjax.data import catalog, pipeline
from medjax.evaluate import Judged, contenders, ensemble, judge, restore_tiled, tuned
from medjax.experiment import Experiment, read, to_dict
from medjax.io.common import atomic
from medjax.methods.base import Method, Pair
from medjax.metrics.column import Column, Kind
from medjax.report import table as tables
from medjax.report.cases import CasePictures
from medjax.report.html import write_report
from medjax.report.picture import Window
from medjax.report.verdict import verdict
from medjax.tasks.base import Task
from medjax.train import mesh as meshes
from medjax.train.checkpoint import Checkpoints
from medjax.train.loop import CHECKPOINTS, FitResult, fit
from medjax.train.progress import Progress
from medjax.train.schedule import cosine
from medjax.train.writers import read_metrics

_log = logging.getLogger(__name__)
EXPERIMENT = "experiment.json"
RESULTS = "results.json"
PACE = "pace.json"
REPORT = "report.html"


def method_of(experiment: Experiment) -> Method:
    """The experiment's network, optimiser, loss and method, put together."""
    plan = experiment.schedule
    rate = cosine(plan.steps, peak=plan.peak, end=plan.end, warmup=plan.warmup)
    clip = [optax.clip_by_global_norm(plan.clip)] if plan.clip else []
    optimizer = optax.chain(*clip, optax.adam(rate))
    return experiment.method.build(experiment.network.build(), optimizer, experiment.loss.build())


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
    side = data.patch + 2 * task.margin(data.patch)
    dims = records[0]["image"].ndim
    batches = pipeline.batches(
        records,
        batch_size=data.batch // jax.process_count(),
        patch=(side,) * dims,
        seed=experiment.seed,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        threads=data.threads,
        context=functools.partial(task.context, side=side),
    )
    description = describe(experiment)
    if not any((folder / CHECKPOINTS).glob("[0-9]*")):
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / EXPERIMENT, description)

    def init(key: Array, raw: dict[str, Array]) -> Any:
        return method.init(key, task.prepare(raw, key))

    def step(state: Any, raw: dict[str, Array], key: Array) -> Any:
        prepare_key, step_key = jax.random.split(key)
        return method.step(state, task.prepare(raw, prepare_key), step_key)

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


class Trained(NamedTuple):
    """A run opened for use."""

    experiment: Experiment
    step: int
    restore: Any


def open_run(folder: Path) -> Trained:
    """The newest good checkpoint of a run folder as a function on physical values.

    `restore` maps `[*space]` in the task's unit to the same, in overlapping tiles.

    Raises:
      UserError: the folder is no run, or has no checkpoint that verifies.
    """
    experiment = read(folder / EXPERIMENT)
    task, method = experiment.task, method_of(experiment)
    patch = experiment.data.patch
    dims = task.dims
    blank = jnp.zeros((1,) + (patch,) * dims + (1,))
    like = jax.eval_shape(
        lambda key, x: method.init(key, Pair(task.encode(x), x)), jax.random.key(0), blank
    )
    mesh = meshes.make(1)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        like,
        meshes.state_sharding(mesh, like),
    )
    with Checkpoints(folder / CHECKPOINTS, identity=None, read_only=True) as checkpoints:
        found = checkpoints.restore_state("newest", like)

    @jax.jit
    def restore_tiles(state: Any, tiles: Array) -> Array:
        def once(tiles: Array) -> Array:
            return task.decode(method.restore(state, task.encode(tiles)))

        return ensemble(once, tiles) if experiment.tiling.ensemble else once(tiles)

    def restore(image: Float32[np.ndarray, "*space"]) -> Float32[np.ndarray, "*space"]:
        return restore_tiled(
            lambda tiles: restore_tiles(found.state, tiles), image, experiment.tiling
        )

    return Trained(experiment, found.step, restore)


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
    filters = tuned(standard(task.display), task, dataset.split("train")[:2], seed + 500_000)
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
    return CasePictures(
        case_id=judged.case.name,
        images=judged.images,
        reference=task.reference_name,
        window=Window(low, high, task.unit),
        spacing=judged.case.spacing,
    )
