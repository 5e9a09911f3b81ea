"""Supervised restoration of CT in both domains: the image and the projections it is made from."""

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from medjax.errors import UserError
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


def dual_domain(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = l1,
    sinogram_weight: float = 0.02,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train a dual-domain network (`models.ddanet.DDANet`) end to end, with a loss in each domain.

    The objective is `loss(image) + sinogram_weight * sinogram_loss(sinogram)`.

    Args:
        network: Flax module with `both(degraded, train=bool) -> (image, sinogram)`.
        optimizer: applied to the parameters of both of its networks.
        loss: `(restored, clean) -> scalar`, of images.
        sinogram_weight: of the loss of the cleaned projections, in units of their noise; 0
            leaves the sinogram network to what serves the image.
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` whose pairs are mappings: `degraded` with "image", "sinogram" and "level",
        `clean` with "image" and "sinogram". Its metrics are `loss`, `pixel` (the image's part
        alone), `sinogram` and `gradient_norm`.

    Raises:
        UserError: the network has but one domain, or the weight is negative.
    """
    if not hasattr(network, "both"):
        raise UserError(
            f"method DualDomain cannot train a {type(network).__name__}; "
            "give network DDANetConfig()"
        )
    if sinogram_weight < 0:
        raise UserError(f"method.sinogram_weight {sinogram_weight}: must not be negative")

    def init(key: Key[Array, ""], batch: Pair) -> SupervisedState:
        return started(create_learner(network, optimizer, key, batch.degraded))

    def step(
        state: SupervisedState, batch: Pair, key: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        degraded, clean = batch

        def objective(params: PyTree) -> tuple[Metrics, Variables]:
            statistics = statistics_of(state.network.variables)
            both, statistics = train_pass(network, params, statistics, key, degraded, method="both")
            pixel = loss(both.image, clean["image"])
            rays = sinogram_loss(both.sinogram, clean["sinogram"], degraded["level"])
            value = pixel + sinogram_weight * rays
            return {"loss": value, "pixel": pixel, "sinogram": rays}, statistics

        return descended(state, objective, optimizer, ema_decay, axis_name)

    def restore(state: SupervisedState, degraded: PyTree) -> Float[Array, "batch y x c"]:
        return network.apply(state.ema, degraded, train=False)  # pyright: ignore

    return Method(init, step, restore)


def sinogram_loss(
    cleaned: Float[Array, "batch views detectors slices"],
    clean: Float[Array, "batch views detectors slices"],
    level: Float[Array, "batch views detectors slices"],
) -> Float[Array, ""]:
    """Mean absolute error of each sinogram in units of its mean noise level, over the batch.

    Without unit and the same at every dose: white noise left as it was costs sqrt(2 / pi). Rays
    of one scan count alike, as they do in the backprojection.
    """
    axes = (1, 2, 3)
    return jnp.mean(jnp.mean(jnp.abs(cleaned - clean), axes) / jnp.mean(level, axes))
