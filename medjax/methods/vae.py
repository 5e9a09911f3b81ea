"""Training variational autoencoders, conditional (to restore) and not (to generate).

Kingma & Welling, arXiv:1312.6114; Sohn, Yan, Lee, "Learning structured output representation using
deep conditional generative models", NIPS 2015.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from medjax.errors import UserError
from medjax.losses.kl import gaussian_kl, kl_loss
from medjax.losses.pixel import l2
from medjax.methods.base import (
    Learner,
    Loss,
    Method,
    Metrics,
    Pair,
    Variables,
    statistics_of,
)
from medjax.methods.supervised import SupervisedState, descended, started
from medjax.models.latent import Gaussian, Reconstruction


def vae(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = l2,
    beta: float = 1e-3,
    free_bits: float = 0.0,
    warmup: int = 0,
    prior_share: float = 0.5,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train an autoencoder (`models.vae.VAE`, `models.cvae.CVAE`) on a beta-weighted ELBO.

    The objective is `loss + beta * KL / n` with the KL of posterior and prior in nats an image of
    n numbers. With the mean squared error `beta = 2 sigma²` makes it the ELBO (over n / beta, and
    but for a constant) of a decoder with noise sigma; with the mean absolute error `beta` is the
    scale of a Laplace decoder. More than that is a beta-VAE (Higgins et al., ICLR 2017).

    Args:
        network: Flax module with `reconstruct` and `draw` as in `medjax.models.vae`.
        optimizer: applied to the network's parameters.
        loss: `(reconstructed, clean) -> scalar`, a mean over the image.
        beta: weight of the KL term.
        free_bits: nats a latent channel that cost nothing extra.
        warmup: steps in which the weight of the KL rises linearly from 0: a posterior that is
            pulled to the prior before the decoder can use it stays there (Bowman et al.,
            arXiv:1511.06349).
        prior_share: of a conditional network, the share of `loss` at what it restores from the
            prior's mean (Sohn's hybrid objective, with the mean for his samples, which would
            teach the decoder to leave the latent unread).
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` with `draw` and the metrics `loss`, `reconstruction` (from the posterior), `kl`
        (nats an image, free bits not counted), `gradient_norm` and, of a conditional network,
        `restoration` (the loss of what `restore` gives).

    Raises:
        UserError: the network is no autoencoder, or a setting is out of its range.
    """
    if not (hasattr(network, "reconstruct") and hasattr(network, "draw")):
        raise UserError(
            f"method VAE cannot train a {type(network).__name__}; give network CVAEConfig() to "
            "restore or VAEConfig() to generate"
        )
    if min(beta, free_bits, warmup) < 0 or not 0 <= prior_share <= 1:
        raise UserError(
            f"method VAE: beta {beta}, free_bits {free_bits} and warmup {warmup} must not be "
            f"negative, prior_share {prior_share} must be 0 to 1"
        )

    def init(key: Key[Array, ""], batch: Pair) -> SupervisedState:
        names = ("params", "dropout", "latent")
        keys = {name: jax.random.fold_in(key, i) for i, name in enumerate(names)}
        variables = dict(network.init(keys, *batch, train=False, method="reconstruct"))
        return started(Learner(variables, optimizer.init(variables["params"])))

    def step(
        state: SupervisedState, batch: Pair, key: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        weight = beta * warmed(state.step, warmup) / batch.clean[0].size

        def objective(params: PyTree) -> tuple[Metrics, Variables]:
            statistics = statistics_of(state.network.variables)
            out, statistics = _reconstruct(network, params, statistics, key, batch)
            metrics = {"reconstruction": loss(out.image, batch.clean)}
            fit = metrics["reconstruction"]
            if out.restored is not None:
                metrics["restoration"] = loss(out.restored, batch.clean)
                fit = (1 - prior_share) * fit + prior_share * metrics["restoration"]
            posterior = standardised(out.posterior, out.prior)
            metrics["kl"] = jnp.sum(gaussian_kl(*posterior)) / len(batch.clean)
            value = fit + weight * kl_loss(*posterior, free_bits=free_bits)
            return {"loss": value, **metrics}, statistics

        return descended(state, objective, optimizer, ema_decay, axis_name)

    def restore(
        state: SupervisedState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return network.apply(state.ema, degraded, train=False)  # pyright: ignore

    def draw(
        state: SupervisedState, degraded: Float[Array, "batch *space d"], key: Key[Array, ""]
    ) -> Float[Array, "batch *space c"]:
        rngs = {"latent": key}
        return network.apply(state.ema, degraded, rngs=rngs, method="draw")  # pyright: ignore

    return Method(init, step, restore, draw)


def generate(
    network: nn.Module, state: SupervisedState, key: Key[Array, ""], count: int
) -> Float[Array, "count *space c"]:
    """New images from the prior of an unconditional network, with the averaged weights.

    Args:
        network: the `models.vae.VAE` that was trained.
        state: of its training.
        key: the same key gives the same images.
        count: how many; static under `jit`.
    """
    return network.apply(state.ema, count, rngs={"latent": key}, method="generate")  # pyright: ignore


def warmed(step: Int[Array, ""], warmup: int) -> Float[Array, ""]:
    """The share of the KL's weight at a step (from 0): `min(1, (step + 1) / warmup)`."""
    if not warmup:
        return jnp.ones(())
    return jnp.minimum(1.0, (step.astype(jnp.float32) + 1) / warmup)


def standardised(posterior: Gaussian, prior: Gaussian) -> Gaussian:
    """The posterior in coordinates in which the prior is the standard normal.

    The KL of the two is that of the result to the standard normal.
    """
    return Gaussian(
        (posterior.mean - prior.mean) * jnp.exp(-prior.log_variance / 2),
        posterior.log_variance - prior.log_variance,
    )


def _reconstruct(network, params, statistics, key, batch: Pair) -> tuple[Reconstruction, dict]:
    """The network's training pass and its statistics after this batch."""
    out, updated = network.apply(
        {"params": params, **statistics},
        *batch,
        train=True,
        mutable=list(statistics),
        rngs={"dropout": jax.random.fold_in(key, 0), "latent": jax.random.fold_in(key, 1)},
        method="reconstruct",
    )
    return out, {**statistics, **updated}
