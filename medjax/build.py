"""From an experiment's settings to the functions that train and restore."""

import jax
import optax
from jaxtyping import PyTree

from medjax.experiment import Experiment, Schedule
from medjax.methods.base import Method
from medjax.train.schedule import cosine, cosine_restarts


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


def fold(x: PyTree, space: int) -> PyTree:
    """`[batch, *leading, *space, channel]` with the leading axes joined to the batch.

    Of a mapping of such arrays, each.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[-space - 1 :]), x)
