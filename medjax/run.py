"""What the commands do with an experiment: train it, judge it, keep both in a run folder."""

import dataclasses
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from medjax import calibrate
from medjax.baselines.filters import named
from medjax.build import batches_of, mesh_of, state_sharding_of, training_of
from medjax.data import catalog
from medjax.errors import UserError
from medjax.evaluate import Judged, contenders, judge, tuned
from medjax.experiment import Experiment, deciding, to_dict
from medjax.io.common import atomic, naming_full_disk
from medjax.metrics.calibration import stretch as stretch_of
from medjax.metrics.column import Column, Kind
from medjax.nn import onednn, onednn_library
from medjax.report import table as tables
from medjax.report.cases import CasePictures
from medjax.report.html import write_report
from medjax.report.picture import Window
from medjax.report.verdict import verdict
from medjax.start import beginning
from medjax.tasks.base import Task
from medjax.train import processes, share
from medjax.train.loop import CHECKPOINTS, FitResult, fit
from medjax.train.progress import Progress
from medjax.train.writers import read_metrics
from medjax.trained import EXPERIMENT, Restore, Trained, open_run

_log = logging.getLogger(__name__)
RESULTS = "results.json"
PACE = "pace.json"
# Scans on which predicted deviations are stretched; one factor needs no more.
CALIBRATED_ON = 8
REPORT = "report.html"
__all__ = ["Restore", "Trained", "describe", "evaluate", "identity", "open_run", "train"]


def train(experiment: Experiment, folder: Path) -> FitResult:
    """Trains the experiment in `folder`, from its newest checkpoint if it has one.

    Of several processes all must call it, with one `folder` that all see.

    Raises:
      UserError: the dataset is unknown, the folder holds another experiment, or what it is to
        start from is no run of the same network.
    """
    task, data = experiment.task, experiment.data
    records = catalog.load(data.name).split("train")
    task.check(records[0])
    training, mesh = training_of(experiment), mesh_of(experiment)
    if records[0]["image"].ndim != task.dims:
        raise UserError(
            f"dataset {data.name}: its scans have {records[0]['image'].ndim} axes; this experiment "
            f"takes {task.dims}: medjax data prepare ... --dims {task.dims}"
        )
    batches = batches_of(experiment, records, rows=share.rows(mesh, data.batch))
    description = describe(experiment)
    begin = None
    if not any((folder / CHECKPOINTS).glob("[0-9]*")):
        # A run that goes on needs what it started from no more.
        begin = beginning(experiment.start)
        if processes.first():
            folder.mkdir(parents=True, exist_ok=True)
            _write_json(folder / EXPERIMENT, description)
    with naming_full_disk(folder), ExitStack() as stack:
        stack.callback(batches.close)
        shown = ("loss", "pixel")
        progress = stack.enter_context(Progress(shown=shown)) if processes.first() else None
        return fit(
            init=training.init,
            begin=begin,
            step=training.step,
            batches=batches,
            run=folder,
            identity=identity(experiment, folder),
            seed=experiment.seed,
            steps=experiment.schedule.steps,
            save_every=experiment.keep.save_every,
            log_every=experiment.keep.log_every,
            mesh=mesh,
            state_sharding=state_sharding_of(experiment),
            images_per_batch=data.batch,
            experiment=description,
            keep_latest=experiment.keep.checkpoints,
            reporter=progress,
        )


def identity(experiment: Experiment, folder: Path | None = None) -> dict[str, Any]:
    """What decides the trained weights: not where files go or how tiles are cut and work split.

    Args:
      experiment: of the run.
      folder: of the run, if it is there already. Older runs counted their devices as deciding;
        one of those goes on with what it has kept.
    """
    chosen = deciding(experiment)
    left_out = {"kind", "summary", "keep", "tiling"}
    # Without this, runs from before there was a start could not go on.
    if not experiment.start:
        left_out.add("start")
    kept = {k: v for k, v in chosen.items() if k not in left_out}
    return {**kept, "devices": _counted_devices(folder)}


def _counted_devices(folder: Path | None) -> int:
    """What a run's identity holds as its devices: 1, but for older runs on more of them."""
    path = folder and folder / EXPERIMENT
    if not path or not path.is_file():
        return 1
    devices = json.loads(path.read_text())["experiment"]["devices"]
    return devices if isinstance(devices, int) else 1


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
            "processes": jax.process_count(),
            "machine": platform.machine(),
            "convolutions": f"oneDNN {onednn_library.version()}" if onednn.used() else "XLA",
        },
        "dataset": dataclasses.asdict(catalog.load(experiment.data.name).info),
    }


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

    Where the method predicts its errors' spread, that is compared with them too, and the factor
    that other scans ask for goes into calibration.json, for `trained.open_run`.

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
        **{row.name: row.kind for row in rows[:-1]},
        **{name: "classical" for case in judged for name in case.case.corrections},
        network: "network",
    }
    results = _results(task, judged, kinds)
    calibration, deviations = _calibration(folder, run, dataset, judged, seed)
    kept = {
        "results": tables.to_json(results),
        "verdict": verdict(results, network),
        "step": run.step,
        "training": read_pace(folder),
        "filters": {f.name: dict(f.parameters) for f in filters},
        "uncertainty": calibration and dataclasses.asdict(calibration),
    }
    _write_json(folder / RESULTS, kept)
    write_report(
        folder / REPORT,
        title=f"medjax: {experiment.name}",
        results=results,
        judged=network,
        cases=[
            _pictures(task, j, run.seen.affine, network, deviations.get(j.case.name))
            for j in judged[:4]
        ],
        calibration=calibration,
        history=read_metrics(folder),
        experiment=json.loads((folder / EXPERIMENT).read_text()),
        next_steps=[f"medjax restore {folder} INPUT OUTPUT"],
    )
    return results


def _calibration(
    folder: Path, run: Trained, dataset: catalog.Dataset, judged: Sequence[Judged], seed: int
) -> tuple[calibrate.Calibration | None, Mapping[str, Float32[np.ndarray, "*space"]]]:
    """The run's deviations, stretched on other scans than `judged`: how right, and by case.

    Without a split "valid" the scans that it learned from are degraded anew.
    """
    task, network, std = run.experiment.task, run.experiment.method.label, run.std
    if std is None:
        return None, {}
    held_back = "valid" in dataset.splits
    records = dataset.split("valid" if held_back else "train")[:CALIBRATED_ON]
    # Noise of their own too, neither that of the tuning nor that of the judgement.
    own = calibrate.predicted(task, records, run.restore, std, seed + 750_000)
    stretch = stretch_of(*calibrate.errors_of(task, own), run.law)
    calibrate.keep(folder, stretch, run.step)
    cases = [
        calibrate.Predicted(j.case, j.images[network], std(j.case.network_input)) for j in judged
    ]
    many = "s" if len(records) > 1 else ""
    scans = f"{len(records)} {'validation' if held_back else 'training'} scan{many}"
    errors = calibrate.errors_of(task, cases)
    found = calibrate.calibrated(errors, run.law, task.unit, stretch, scans)
    _log.info("%s", found.line)
    return found, {c.case.name: np.float32(stretch) * c.std for c in cases}


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


def _pictures(
    task: Task,
    judged: Judged,
    affine: Float32[np.ndarray, "4 4"] | None,
    network: str,
    std: Float32[np.ndarray, "*space"] | None,
) -> CasePictures:
    low, high = task.display
    note = ""
    case, images, spacing = judged.case, judged.images, judged.case.spacing
    if task.dims == 4:
        # Of a series, the volume that suffered most.
        error = np.abs(case.degraded - case.reference).mean(axis=(1, 2, 3))
        worst = int(error.argmax())
        images = {name: image[worst] for name, image in images.items()}
        std = None if std is None else std[worst]
        note = (
            f"Volume {worst + 1} of {len(error)}, the one that suffered most; figures are of the "
            "whole series."
        )
        spacing = None if spacing is None else spacing[1:]
    return CasePictures(
        case_id=case.name,
        images=images,
        reference=task.reference_name,
        window=Window(low, high, task.unit),
        spacing=spacing,
        affine=affine if task.dims == 3 else None,
        uncertainty={} if std is None else {network: std},
        note=note,
    )
