"""Plain supervised restoration: one network, one loss."""

import flax.linen as nn
import optax
from jaxtyping import Array, Float, Key, PyTree

from medjax.losses.pixel import l1
from medjax.methods.base import (
    Loss,
    Method,
    Metrics,
    Pair,
    Variables,
    create_learner,
    statistics_of,
    train_pass,
)
from medjax.methods.supervised import SupervisedState, descended, started


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

    def init(key: Key[Array, ""], batch: Pair) -> SupervisedState:
        return started(create_learner(network, optimizer, key, batch.degraded))

    def step(
        state: SupervisedState, batch: Pair, key: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        def objective(params: PyTree) -> tuple[Metrics, Variables]:
            statistics = statistics_of(state.network.variables)
            restored, statistics = train_pass(network, params, statistics, key, batch.degraded)
            return {"loss": loss(restored, batch.clean)}, statistics

        return descended(state, objective, optimizer, ema_decay, axis_name)

    def restore(
        state: SupervisedState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return network.apply(state.ema, degraded, train=False)  # pyright: ignore

    return Method(init, step, restore)
