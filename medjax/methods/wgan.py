"""Wasserstein GAN with gradient penalty for restoration, as WGAN-VGG (arXiv:1708.00961).

The gradient penalty is that of Gulrajani et al., arXiv:1704.00028.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from medjax.losses.gradient_penalty import gradient_penalty
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


class WGANState(MethodState):
    """`step`, `ema` of the generator, and both networks in training."""

    generator: Learner
    critic: Learner


def wgan(
    generator: nn.Module,
    critic: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    *,
    loss: Loss = l1,
    adversarial: float = 0.01,
    penalty: float = 10.0,
    critic_updates: int = 4,
    ema_decay: float = 0.999,
    axis_name: str | None = None,
) -> Method:
    """Train `generator` on `loss` and against a `critic` that sees the image alone.

    A step runs the generator once. Then the critic learns `critic_updates` times to tell these
    fakes from the clean images, each time with new mixtures of both in its penalty (the papers
    draw a new batch each time), and the generator follows the critic that came out of it.

    Args:
        generator: Flax module, `generator(degraded, train=bool) -> restored`.
        critic: Flax module, `critic(image, train=bool) -> [batch]`, without statistics or dropout.
        generator_optimizer: applied to the generator's parameters once a step.
        critic_optimizer: applied to the critic's parameters `critic_updates` times a step.
        loss: `(restored, clean) -> scalar`, of weight 1; WGAN-VGG's is perceptual.
        adversarial: weight of the critic's score of the fakes beside it.
        penalty: weight of the gradient penalty in the critic's loss.
        critic_updates: of the critic a step.
        ema_decay: decay a step of the average that `restore` uses; 0 uses the last weights.
        axis_name: name of the `pmap` axis over which to average; none under `jit`.

    Returns:
        A `Method` with metrics `loss` (the generator's weighted sum), `pixel` (`loss` alone),
        `adversarial` (the fakes' mean score, negative), `wasserstein` (the real images' mean score
        less the fakes') and `penalty`, both in the critic's last update, `gradient_norm` (the
        generator's) and `critic_gradient_norm`.

    Raises:
        ValueError: `critic_updates` is below 1.
    """
    if critic_updates < 1:
        raise ValueError(f"critic_updates must be at least 1, not {critic_updates}")

    def init(key: Key[Array, ""], batch: Pair) -> WGANState:
        key_g, key_c = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        learner = create_learner(generator, generator_optimizer, key_g, batch.degraded)
        return WGANState(
            step=jnp.zeros((), jnp.int32),
            ema=jax.tree.map(jnp.copy, learner.variables),
            generator=learner,
            critic=create_learner(critic, critic_optimizer, key_c, batch.clean),
        )

    def score(params: PyTree, image: Array) -> Float[Array, " batch"]:
        return critic.apply({"params": params}, image, train=True)  # pyright: ignore

    def critical(
        params: PyTree, clean: Array, fake: Array, key: Key[Array, ""]
    ) -> tuple[Array, Metrics]:
        """The critic's loss."""
        gap = jnp.mean(score(params, clean)) - jnp.mean(score(params, fake))
        steep = gradient_penalty(lambda image: score(params, image), clean, fake, key)
        return penalty * steep - gap, {"wasserstein": gap, "penalty": steep}

    def taught(learner: Learner, clean: Array, fake: Array, key: Key[Array, ""]):
        """The critic after its updates."""

        def update(learner: Learner, key: Key[Array, ""]) -> tuple[Learner, Metrics]:
            gradient, metrics = jax.grad(critical, has_aux=True)(
                learner.variables["params"], clean, fake, key
            )
            gradient, metrics = mean_over(axis_name, (gradient, metrics))
            metrics["critic_gradient_norm"] = global_norm(gradient)
            return update_learner(learner, critic_optimizer, gradient, {}), metrics

        learner, metrics = jax.lax.scan(update, learner, jax.random.split(key, critic_updates))
        return learner, {name: values[-1] for name, values in metrics.items()}

    def step(state: WGANState, batch: Pair, key: Key[Array, ""]) -> tuple[WGANState, Metrics]:
        key_g, key_c = (jax.random.fold_in(key, i) for i in range(2))
        variables = state.generator.variables

        def generate(params: PyTree):
            return train_pass(generator, params, statistics_of(variables), key_g, batch.degraded)

        fake, pull_generator, statistics = jax.vjp(generate, variables["params"], has_aux=True)
        learner, metrics = taught(state.critic, batch.clean, fake, key_c)

        def generators_loss(fake: Array) -> tuple[Array, Metrics]:
            pixel = loss(fake, batch.clean)
            fooled = -jnp.mean(score(learner.variables["params"], fake))
            total = pixel + adversarial * fooled
            return total, {"loss": total, "pixel": pixel, "adversarial": fooled}

        to_follow, own = jax.grad(generators_loss, has_aux=True)(fake)
        (gradient,) = pull_generator(to_follow)
        gradient, statistics, own = mean_over(axis_name, (gradient, statistics, own))
        metrics |= {**own, "gradient_norm": global_norm(gradient)}
        made = update_learner(state.generator, generator_optimizer, gradient, statistics)
        return WGANState(
            step=state.step + 1,
            ema=update_ema(state.ema, made.variables, state.step, ema_decay),
            generator=made,
            critic=learner,
        ), metrics

    def restore(
        state: WGANState, degraded: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        return generator.apply(state.ema, degraded, train=False)  # pyright: ignore

    return Method(init, step, restore)
