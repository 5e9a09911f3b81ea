"""From an experiment's settings to the functions that train and restore."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from medjax.data import pipeline
from medjax.data.builder import Record
from medjax.errors import UserError
from medjax.experiment import Experiment, Schedule
from medjax.methods.base import Method, Pair
from medjax.tasks.base import each_axis
from medjax.train import mesh as meshes
from medjax.train.schedule import cosine, cosine_restarts


def method_of(experiment: Experiment) -> Method:
    """The experiment's network, optimiser, loss and method, put together.

    Raises:
      UserError: the loss takes two noise draws of each patch, and the task gives one.
    """
    if experiment.loss.pairs and not experiment.task.paired:
        loss, task = (type(x).__name__ for x in (experiment.loss, experiment.task))
        raise UserError(
            f"loss {loss} compares two noise draws of each patch: set task.noises 2, which "
            f"LowDoseRegions has (the task is {task})"
        )
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


def mesh_of(experiment: Experiment) -> Mesh:
    """The mesh of the experiment's devices.

    Raises:
      UserError: there are too few.
    """
    return meshes.make(experiment.devices.data or None, experiment.devices.space)


def state_sharding_of(experiment: Experiment) -> Callable[[Mesh, Any], Any]:
    """Where the training state lies on that mesh."""
    return meshes.fully_sharded if experiment.devices.fsdp else meshes.state_sharding


class Training(NamedTuple):
    """How an experiment starts and steps on raw batches; both augment and degrade them."""

    init: Callable[[Array, dict[str, Array]], Any]
    """`init(key, raw) -> state`."""
    step: Callable[[Any, dict[str, Array], Array], Any]
    """`step(state, raw, key) -> (state, metrics)`."""


def pairs_of(experiment: Experiment) -> Callable[[dict[str, Array], Array], Pair]:
    """`pair(raw, key)`: what the experiment's network is trained on."""
    task = experiment.task

    def pair(raw: dict[str, Array], key: Array) -> Pair:
        return Pair(*(fold(x, task.network_dims) for x in task.prepare(raw, key)))

    return pair


def training_of(experiment: Experiment) -> Training:
    """The experiment's method behind its task."""
    method, whole = method_of(experiment), pairs_of(experiment)

    def pair(raw: dict[str, Array], key: Array) -> Pair:
        made = whole(raw, key)
        if experiment.devices.space == 1:
            return made
        return meshes.split_space(mesh_of(experiment), made)

    def init(key: Array, raw: dict[str, Array]) -> Any:
        return method.init(key, pair(raw, key))

    def step(state: Any, raw: dict[str, Array], key: Array) -> Any:
        prepare_key, step_key = jax.random.split(key)
        return method.step(state, pair(raw, prepare_key), step_key)

    return Training(init, step)


def batches_of(
    experiment: Experiment,
    records: Sequence[Record],
    rows: Sequence[int] | None = None,
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """Raw batches of these records without end, as `Training` takes them.

    Close the iterator after use: its threads else end when Python finds the time.

    Args:
      experiment: tells patch, batch and seed, and who reads.
      records: the scans to learn from.
      rows: of each batch, those that this process reads; None reads all.
    """
    task, data = experiment.task, experiment.data
    patch = _patch_with_margin(experiment)
    return pipeline.batches(
        records,
        batch_size=data.batch,
        patch=patch,
        seed=experiment.seed,
        rows=rows,
        threads=data.threads,
        context=functools.partial(task.context, patch=patch),
        survey=task.survey,
    )


def batch_like(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of what `batches_of` gives, without a dataset."""
    task, patch = experiment.task, _patch_with_margin(experiment)
    one = {
        "image": jax.ShapeDtypeStruct((*patch, 1), np.float32),
        "spacing": jax.ShapeDtypeStruct((task.dims,), np.float32),
        **task.context_like(patch),
    }
    return {
        name: jax.ShapeDtypeStruct((experiment.data.batch, *like.shape), like.dtype)
        for name, like in one.items()
    }


def _patch_with_margin(experiment: Experiment) -> tuple[int, ...]:
    inner = each_axis(experiment.data.patch, experiment.task.dims)
    margin = experiment.task.margin(inner)
    return tuple(p + 2 * m for p, m in zip(inner, margin, strict=True))


def fold(x: PyTree, space: int) -> PyTree:
    """`[batch, *leading, *space, channel]` with the leading axes joined to the batch.

    Of a mapping of such arrays, each.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[-space - 1 :]), x)
