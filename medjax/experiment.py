"""Experiment: the one description of a run, how it is found, and how it is kept as JSON."""

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from medjax.errors import UserError
from medjax.evaluate import Tiling
from medjax.losses.config import L1, LossConfig
from medjax.methods.config import MethodConfig
from medjax.models.base import NetworkConfig
from medjax.tasks.base import Task

SETTINGS = ("cpu", "full")


@dataclasses.dataclass(frozen=True)
class Data:
    """Which scans, and how they are cut for training.

    Attributes:
      name: a dataset of `medjax data list`.
      patch: samples of a training patch along each axis of a scan; one number counts for all.
      batch: patches a training step.
      threads: reader threads.
    """

    name: Annotated[str, tyro.conf.arg(aliases=["--data"])] = "ct_samples"
    patch: Annotated[int | tuple[int, ...], tyro.conf.arg(aliases=["--patch"])] = 64
    batch: Annotated[int, tyro.conf.arg(aliases=["--batch"])] = 16
    threads: int = 2


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
      steps: training steps.
      peak: learning rate after the warm-up.
      end: learning rate at the last step, reached along a cosine.
      warmup: steps of linear rise from 0.
      clip: largest global norm of a gradient; 0 leaves gradients as they are.
      accumulate: batches whose gradients are averaged before the weights move; a step is still
        one batch.
      restart_every: steps after which the cosine starts again at its peak; 0 is one cosine.
    """

    steps: int = 10_000
    peak: float = 2e-4
    end: float = 2e-6
    warmup: int = 0
    clip: float = 0.0
    accumulate: int = 1
    restart_every: int = 0

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise UserError(f"schedule.accumulate {self.accumulate}: must be at least 1")
        if self.restart_every and self.warmup:
            raise UserError("schedule: a cosine with restarts has no warm-up; set one of them to 0")


@dataclasses.dataclass(frozen=True)
class Devices:
    """How a training step is split; the result is the same but for rounding.

    Attributes:
      data: devices that share a batch; 0 for all there are, after `space`.
      space: devices that share each image, cut along its first axis of space.
      fsdp: keep large weights, averages and moments split over the `data` devices, too.
    """

    data: Annotated[int, tyro.conf.arg(aliases=["--devices"])] = 1
    space: int = 1
    fsdp: bool = False

    def __post_init__(self) -> None:
        if self.data < 0 or self.space < 1:
            raise UserError(
                f"devices: data {self.data} must not be negative, space {self.space} at least 1"
            )


@dataclasses.dataclass(frozen=True)
class Keep:
    """What is written while training.

    Attributes:
      save_every: steps between checkpoints.
      log_every: steps between rows of metrics.jsonl.
      checkpoints: newest checkpoints kept.
    """

    save_every: int = 500
    log_every: int = 20
    checkpoints: int = 2


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's result.

    Attributes:
      name: what `medjax list` shows; also the default name of the run folder.
      summary: one line for `medjax list`.
      task: what is undone, with its physics.
      network: the network that restores.
      method: how the network is trained.
      loss: against the clean image.
      data: training and test scans.
      schedule: steps and learning rate.
      tiling: how whole scans are cut for the network.
      keep: checkpoints and logs.
      seed: of every random number in the run.
      devices: that share the work. An int, as older runs have it, is `Devices.data`.
      start: a run folder of the same network, whose averaged weights training starts from; empty
        starts from random ones. Fine-tuning is this with other data, task, method or loss.
    """

    name: str
    summary: str
    task: Task
    network: NetworkConfig
    method: MethodConfig
    loss: LossConfig = L1()
    data: Data = Data()
    schedule: Schedule = Schedule()
    tiling: Tiling = Tiling()
    keep: Keep = Keep()
    seed: int = 0
    devices: Devices = Devices()
    start: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.devices, int):
            object.__setattr__(self, "devices", Devices(self.devices))


# Finding experiments


def published() -> dict[str, Path]:
    """The experiments that come with medjax, by name."""
    here = Path(__file__).parent
    # Installed, they lie inside the package; in a checkout, beside it.
    folder = next(f for f in (here / "experiments", here.parent / "experiments") if f.is_dir())
    return {p.stem: p for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")}


def find(name: str) -> Path:
    """The file of a published experiment, or the user's own Python file.

    Raises:
      UserError: no such experiment or file.
    """
    if name.endswith(".py") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UserError(f"{name}: there is no such experiment file; check the path")
        return path
    known = published()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "medjax list shows what there is"
    raise UserError(f"{name}: no experiment has this name; {hint}")


def load(path: Path, setting: str) -> Experiment:
    """The experiment of a file, in its `cpu` or its `full` setting.

    Raises:
      UserError: the file does not run or defines no such setting.
    """
    module = _import_file(path)
    experiment = getattr(module, setting, None)
    if not isinstance(experiment, Experiment):
        has = [s for s in SETTINGS if isinstance(getattr(module, s, None), Experiment)]
        raise UserError(
            f"{path}: defines no experiment named {setting!r}; "
            f"it has {' and '.join(has) or 'neither cpu nor full'}"
        )
    return experiment


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"medjax_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: is not a Python file; an experiment's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Where classes of the file look up their own annotations.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, TypeError, AttributeError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else ""
        raise UserError(
            f"{path}: the experiment file stops with {type(error).__name__}: {line}; mend the file"
        ) from error
    return module


# Keeping experiments


def to_dict(value: Any) -> Any:
    """Dataclasses to plain JSON values; `kind` names the class, so that it can come back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        fields = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": kind, **fields}
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an experiment cannot hold a {type(value).__name__}: {value!r}")


def deciding(experiment: Experiment) -> dict[str, Any]:
    """`to_dict` as runs are told apart by: without what changes a result by rounding only.

    That is how the work is split and what is computed again. Runs from before either could be
    chosen have one device here.
    """
    return {**_without(to_dict(experiment), "remat"), "devices": 1}


def _without(tree: Any, name: str) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {key: _without(value, name) for key, value in tree.items() if key != name}


def from_dict(data: Any) -> Any:
    """The inverse of `to_dict`; lists come back as tuples.

    Raises:
      UserError: the data names a class or field that this version of medjax does not have.
    """
    if isinstance(data, list):
        return tuple(from_dict(v) for v in data)
    if not isinstance(data, dict):
        return data
    if "kind" not in data:
        return {k: from_dict(v) for k, v in data.items()}
    cls = _class(data["kind"])
    values = {k: from_dict(v) for k, v in data.items() if k != "kind"}
    unknown = set(values) - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise UserError(
            f"experiment.json: {cls.__name__} has no field {sorted(unknown)[0]!r} in this version; "
            "use the version of medjax that the file names"
        )
    return cls(**values)


def _class(kind: str) -> type[Any]:
    module, _, name = kind.partition(":")
    # Only our own classes: a JSON file must not be able to import anything else.
    found = None
    if module.split(".")[0] == "medjax":
        try:
            found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        except (ImportError, AttributeError):
            found = None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UserError(
            f"experiment.json: {kind} is no class of this version of medjax; use the version that "
            "the file names, or give the Python file that defines it with --experiment"
        )
    return typing.cast(type[Any], found)


def read(path: Path) -> Experiment:
    """The experiment that a run folder's experiment.json holds.

    Raises:
      UserError: the file is missing or not an experiment.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: is no run folder (it has no {path.name}); give one that train made"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: is not JSON ({error}); restore the file from a copy or train again"
        ) from error
    experiment = from_dict(data.get("experiment")) if isinstance(data, dict) else None
    if not isinstance(experiment, Experiment):
        raise UserError(f"{path}: holds no experiment; give a run folder that train made")
    return experiment
