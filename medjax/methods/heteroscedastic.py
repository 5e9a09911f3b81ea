"""Supervised restoration that also learns how far off it is, sample by sample.

Kendall & Gal, arXiv:1703.04977: the scatter of the errors as a second output, learned from the
errors by their likelihood, without labels of its own.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from medjax.errors import UserError
from medjax.losses.likelihood import Law, negative_log_likelihood, standard_deviation
from medjax.losses.pixel import l1
from medjax.methods.base import (
    Loss,
    Method,
    Metrics,
    Pair,
    Spread,
    Variables,
    create_learner,
    statistics_of,
    train_pass,
)
from medjax.methods.supervised import SupervisedState, descended, started


def heteroscedastic(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = l1,
    law: Law = "laplace",
    weight: float = 0.1,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train `network` to restore by `loss`, and to tell the scale of the errors that remain.

    In the joint likelihood of Kendall & Gal a large scale excuses the restoration from what is
    hard, and it suffers (Seitzer et al., arXiv:2203.09168). Here the likelihood's gradient reaches
    the scales alone; the restored channels learn from `loss`, whatever that is. With l1 and the
    Laplace law, or l2 and the Gaussian, that is Seitzer's beta-NLL at beta = 1 but for the weight
    of the scales.

    Args:
        network: Flax module, `network(degraded, train=bool)` to the restored channels and then as
            many logarithms of scales, such as `models.with_spread.WithSpread`.
        optimizer: applied to the network's parameters.
        loss: `(restored, clean) -> scalar`.
        law: of the errors.
        weight: of the likelihood, in nats a sample, beside `loss`.
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` with `spread` and the metrics `loss`, `pixel` (`loss` of the restored channels),
        `likelihood` (negative, logarithmic) and `gradient_norm`.

    Raises:
        UserError: by `init`, the network does not return twice the clean image's channels.
    """

    def init(key: Key[Array, ""], batch: Pair) -> SupervisedState:
        learner = create_learner(network, optimizer, key, batch.degraded)
        returned = jax.eval_shape(network.apply, learner.variables, batch.degraded)
        if returned.shape[-1] != 2 * batch.clean.shape[-1]:
            raise UserError(
                f"method Heteroscedastic: the network returns {returned.shape[-1]} channels for "
                f"{batch.clean.shape[-1]}; give network WithSpreadConfig(inner=...), which returns "
                "twice as many"
            )
        return started(learner)

    def step(
        state: SupervisedState, batch: Pair, key: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        def objective(params: PyTree) -> tuple[Metrics, Variables]:
            statistics = statistics_of(state.network.variables)
            out, statistics = train_pass(network, params, statistics, key, batch.degraded)
            restored, log_scale = jnp.split(out, 2, axis=-1)
            error = jax.lax.stop_gradient(restored - batch.clean)
            pixel = loss(restored, batch.clean)
            likelihood = jnp.mean(negative_log_likelihood(error, log_scale, law))
            value = pixel + weight * likelihood
            return {"loss": value, "pixel": pixel, "likelihood": likelihood}, statistics

        return descended(state, objective, optimizer, ema_decay, axis_name)

    def halves(state: SupervisedState, degraded: Array) -> list[Array]:
        out: Array = network.apply(state.ema, degraded, train=False)  # pyright: ignore
        return jnp.split(out, 2, axis=-1)

    def restore(
        state: SupervisedState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return halves(state, degraded)[0]

    def std(
        state: SupervisedState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return standard_deviation(halves(state, degraded)[1], law)

    return Method(init, step, restore, spread=Spread(std, law))
