"""Conditional GAN for restoration (pix2pix, Isola et al., arXiv:1611.07004)."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from medjax.losses.adversarial import Adversarial, adversarial_loss
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


@dataclass(frozen=True)
class CGANWeights:
    """Weights of the generator's two terms; only their ratio matters under Adam."""

    adversarial: float = 0.01
    """Weight of the adversarial loss."""
    pixel: float = 0.99
    """Weight of the pixel loss against the clean image."""


class CGANState(MethodState):
    """`step`, `ema` of the generator, and both networks in training."""

    generator: Learner
    discriminator: Learner


def cgan(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    weights: CGANWeights = CGANWeights(),
    adversarial: Adversarial = "bce",
    pixel_loss: Loss = l1,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train `generator` against a `discriminator` that sees the degraded image too.

    A step runs the generator forward once and the discriminator twice (real, fake). Both gradients
    are taken at the weights from before the step: the discriminator's loss is pulled back to its
    own parameters only, the generator's loss through the same passes to the generator only.

    Args:
        generator: Flax module, `generator(degraded, train=bool) -> restored`.
        discriminator: Flax module, `discriminator(degraded, image, train=bool) -> logits`.
        generator_optimizer: applied to the generator's parameters.
        discriminator_optimizer: applied to the discriminator's parameters.
        weights: of the generator's terms.
        adversarial: the adversarial loss.
        pixel_loss: `(restored, clean) -> scalar`.
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` with metrics `loss` (the generator's weighted sum), `pixel`, `adversarial`,
        `discriminator_real`, `discriminator_fake` (its loss on either), `gradient_norm` (the
        generator's) and `discriminator_gradient_norm`.

    Raises:
        ValueError: there is no such adversarial loss.
    """
    game = adversarial_loss(adversarial)

    def init(key: Key[Array, ""], batch: Pair) -> CGANState:
        key_g, key_d = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        learner = create_learner(generator, generator_optimizer, key_g, batch.degraded)
        return CGANState(
            step=jnp.zeros((), jnp.int32),
            ema=jax.tree.map(jnp.copy, learner.variables),
            generator=learner,
            discriminator=create_learner(
                discriminator, discriminator_optimizer, key_d, batch.degraded, batch.clean
            ),
        )

    def step(state: CGANState, batch: Pair, key: Key[Array, ""]) -> tuple[CGANState, Metrics]:
        key_g, key_real, key_fake = (jax.random.fold_in(key, i) for i in range(3))
        vars_g, vars_d = state.generator.variables, state.discriminator.variables

        def generate(params):
            return train_pass(generator, params, statistics_of(vars_g), key_g, batch.degraded)

        def real_loss(params):
            logits, statistics = train_pass(
                discriminator, params, statistics_of(vars_d), key_real, *batch
            )
            return game.real(logits), statistics

        fake, pull_generator, stats_g = jax.vjp(generate, vars_g["params"], has_aux=True)
        (real, stats_d), grad_real = jax.value_and_grad(real_loss, has_aux=True)(vars_d["params"])

        def judge(params, image):
            return train_pass(discriminator, params, stats_d, key_fake, batch.degraded, image)

        logits, pull_judge, stats_d = jax.vjp(judge, vars_d["params"], fake, has_aux=True)
        fooled, to_fool = jax.value_and_grad(game.generator)(logits)
        caught, to_catch = jax.value_and_grad(game.fake)(logits)
        pixel, to_match = jax.value_and_grad(pixel_loss)(fake, batch.clean)

        # Each call keeps one of the two gradients; the compiler drops the other's computation.
        grad_fake, _ = pull_judge(to_catch)
        _, to_fool = pull_judge(to_fool)
        grad_d = jax.tree.map(lambda r, f: (r + f) / 2, grad_real, grad_fake)
        (grad_g,) = pull_generator(weights.adversarial * to_fool + weights.pixel * to_match)

        metrics = {
            "loss": weights.adversarial * fooled + weights.pixel * pixel,
            "pixel": pixel,
            "adversarial": fooled,
            "discriminator_real": real,
            "discriminator_fake": caught,
        }
        grad_g, grad_d, stats_g, stats_d, metrics = mean_over(
            axis_name, (grad_g, grad_d, stats_g, stats_d, metrics)
        )
        metrics["gradient_norm"] = global_norm(grad_g)
        metrics["discriminator_gradient_norm"] = global_norm(grad_d)
        learner = update_learner(state.generator, generator_optimizer, grad_g, stats_g)
        return CGANState(
            step=state.step + 1,
            ema=update_ema(state.ema, learner.variables, state.step, ema_decay),
            generator=learner,
            discriminator=update_learner(
                state.discriminator, discriminator_optimizer, grad_d, stats_d
            ),
        ), metrics

    def restore(
        state: CGANState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return generator.apply(state.ema, degraded, train=False)  # pyright: ignore

    return Method(init, step, restore)
