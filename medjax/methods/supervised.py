"""What the methods with one network have in common: its state, and one step down an objective."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from medjax.methods.base import (
    Learner,
    MethodState,
    Metrics,
    Variables,
    global_norm,
    mean_over,
    update_learner,
)
from medjax.methods.ema import update_ema

Objective = Callable[[PyTree], tuple[Metrics, Variables]]
"""`objective(params) -> (metrics, statistics)`; `metrics["loss"]` is what is minimised."""


class SupervisedState(MethodState):
    """`step`, `ema`, and the network in training."""

    network: Learner


def started(learner: Learner) -> SupervisedState:
    """The state before the first step."""
    return SupervisedState(
        step=jnp.zeros((), jnp.int32),
        ema=jax.tree.map(jnp.copy, learner.variables),
        network=learner,
    )


def descended(
    state: SupervisedState,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    axis_name: str | None,
) -> tuple[SupervisedState, Metrics]:
    """The state after one step, and the objective's metrics with `gradient_norm`."""

    def value(params: PyTree):
        metrics, statistics = objective(params)
        return metrics["loss"], (metrics, statistics)

    (_, (metrics, statistics)), gradient = jax.value_and_grad(value, has_aux=True)(
        state.network.variables["params"]
    )
    metrics, statistics, gradient = mean_over(axis_name, (metrics, statistics, gradient))
    metrics["gradient_norm"] = global_norm(gradient)
    learner = update_learner(state.network, optimizer, gradient, statistics)
    ema = update_ema(state.ema, learner.variables, state.step, ema_decay)
    return SupervisedState(step=state.step + 1, ema=ema, network=learner), metrics
