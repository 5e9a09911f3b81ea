"""Plain supervised restoration: one network, one loss."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from medjax.losses.pixel import l1
from medjax.methods.base import (
    Learner,
    Loss,
    Method,
    MethodState,
    Metrics,
    Pair,
    create_learner,
    global_norm,
    mean_over,
    statistics_of,
    train_pass,
    update_learner,
)
from medjax.methods.ema import update_ema


class RegressionState(MethodState):
    """`step`, `ema`, and the network in training."""

    network: Learner


def regression(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = l1,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train `network` to turn degraded images into clean ones.

    Args:
        network: Flax module, `network(degraded, train=bool) -> restored`.
        optimizer: applied to the network's parameters.
        loss: `(restored, clean) -> scalar`.
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` with metrics `loss` and `gradient_norm`.
    """

    def init(key: Key[Array, ""], batch: Pair) -> RegressionState:
        learner = create_learner(network, optimizer, key, batch.degraded)
        return RegressionState(
            step=jnp.zeros((), jnp.int32),
            ema=jax.tree.map(jnp.copy, learner.variables),
            network=learner,
        )

    def step(
        state: RegressionState, batch: Pair, key: Key[Array, ""]
    ) -> tuple[RegressionState, Metrics]:
        variables = state.network.variables

        def objective(params):
            restored, statistics = train_pass(
                network, params, statistics_of(variables), key, batch.degraded
            )
            return loss(restored, batch.clean), statistics

        (value, statistics), gradient = jax.value_and_grad(objective, has_aux=True)(
            variables["params"]
        )
        value, statistics, gradient = mean_over(axis_name, (value, statistics, gradient))
        learner = update_learner(state.network, optimizer, gradient, statistics)
        metrics = {"loss": value, "gradient_norm": global_norm(gradient)}
        ema = update_ema(state.ema, learner.variables, state.step, ema_decay)
        return RegressionState(step=state.step + 1, ema=ema, network=learner), metrics

    def restore(
        state: RegressionState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return network.apply(state.ema, degraded, train=False)  # pyright: ignore

    return Method(init, step, restore)
