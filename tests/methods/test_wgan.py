"""The WGAN step against updates written out by hand; of a linear critic all is known."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.losses.pixel import l1
from medjax.methods.base import Method, Pair
from medjax.methods.config import WGAN
from medjax.methods.regression import regression
from medjax.methods.supervised import SupervisedState
from medjax.methods.wgan import wgan
from medjax.models.critic import CriticConfig
from medjax.models.plain_cnn import PlainCNNConfig

RATE, PENALTY, WEIGHT = 0.05, 3.0, 0.4

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Sine(nn.Module):
    """A generator whose forward pass is one sine, so that passes can be counted."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return jnp.sin(nn.Dense(1)(x))


class LinearCritic(nn.Module):
    """As steep everywhere as its weights are long."""

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(1)(image.reshape(len(image), -1))[:, 0]


def pair(n: int = 4, side: int = 6) -> Pair:
    clean = jax.random.uniform(jax.random.key(1), (n, side, side, 1))
    level = jnp.full_like(clean, 0.3)
    degraded = clean + level * jax.random.normal(jax.random.key(2), clean.shape)
    return Pair(jnp.concatenate([degraded, level], axis=-1), clean)


def linear_game(updates: int = 3, rate: float = 0.5, **options) -> Method:
    options = {"adversarial": WEIGHT, "penalty": PENALTY, "critic_updates": updates, **options}
    return wgan(Sine(), LinearCritic(), optax.sgd(rate), optax.sgd(RATE), **options)


def weights_of(learner) -> np.ndarray:
    return np.asarray(learner.variables["params"]["Dense_0"]["kernel"])[:, 0]


def difference(a, b) -> float:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.abs(x - y).max()) for x, y in leaves)


@pytest.fixture(scope="module")
def stepped():
    """(state before, state after, metrics) of one step of three critic updates."""
    method, batch = linear_game(), pair()
    before = quick(method.init)(jax.random.key(0), batch)
    after, metrics = quick(method.step)(before, batch, jax.random.key(5))
    return before, after, metrics


def gap_of(state, batch: Pair) -> np.ndarray:
    """Mean clean image less the mean fake of that state."""
    fake = Sine().apply(state.generator.variables, batch.degraded)
    return np.asarray((batch.clean - fake).reshape(len(batch.clean), -1).mean(axis=0))


def test_the_critic_climbs_its_own_objective_with_the_fakes_held_fixed(stepped):
    before, after, metrics = stepped
    gap, w = gap_of(before, pair()), weights_of(before.critic)
    for _ in range(3):
        length = np.linalg.norm(w)
        last = w
        w = w + RATE * (gap - 2 * PENALTY * (length - 1) * w / length)
    np.testing.assert_allclose(weights_of(after.critic), w, atol=1e-5)
    np.testing.assert_allclose(metrics["wasserstein"], last @ gap, rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty"], (np.linalg.norm(last) - 1) ** 2, rtol=1e-3)
    np.testing.assert_allclose(
        metrics["critic_gradient_norm"], np.linalg.norm(w - last) / RATE, rtol=1e-3
    )


def test_the_generator_follows_the_critic_of_after_its_updates(stepped):
    before, after, metrics = stepped
    batch = pair()

    @quick
    @jax.value_and_grad
    def loss(params):
        fake = Sine().apply({"params": params}, batch.degraded)
        score = LinearCritic().apply(after.critic.variables, fake)
        return jnp.abs(fake - batch.clean).mean() - WEIGHT * score.mean()

    value, gradient = loss(before.generator.variables["params"])
    expected = jax.tree.map(
        lambda p, g: p - 0.5 * g, before.generator.variables["params"], gradient
    )
    assert difference(after.generator.variables["params"], expected) < 1e-6
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["pixel"] + WEIGHT * metrics["adversarial"], value, rtol=1e-5)


def test_the_critic_ends_as_steep_as_the_penalty_lets_it():
    """The most of `w·gap - λ(|w| - 1)²` is at |w| = 1 + |gap| / 2λ, along the gap."""
    method, batch = linear_game(rate=0.0), pair()
    state = quick(method.init)(jax.random.key(0), batch)
    step = quick(method.step)
    for i in range(100):
        state, _ = step(state, batch, jax.random.key(i))
    gap, w = gap_of(state, batch), weights_of(state.critic)
    length = np.linalg.norm(gap)
    np.testing.assert_allclose(w, (1 + length / (2 * PENALTY)) * gap / length, atol=1e-3)


def test_zero_weight_is_regression(stepped):
    before, _, _ = stepped
    batch, key = pair(), jax.random.key(5)
    plain = regression(Sine(), optax.sgd(0.5), loss=l1)
    start = SupervisedState(step=before.step, ema=before.ema, network=before.generator)
    expected, _ = quick(plain.step)(start, batch, key)
    state, _ = quick(linear_game(adversarial=0.0).step)(before, batch, key)
    assert difference(state.generator, expected.network) < 1e-6
    assert difference(state.ema, expected.ema) < 1e-6


def test_restore_uses_the_averaged_generator(stepped):
    before, after, _ = stepped
    x, keep = pair().degraded, 1 / 10  # of the first step
    average = jax.tree.map(
        lambda a, b: keep * a + (1 - keep) * b,
        before.generator.variables,
        after.generator.variables,
    )
    np.testing.assert_allclose(linear_game().restore(after, x), Sine().apply(average, x), atol=1e-6)


def test_a_step_runs_the_generator_once_whatever_the_critic_does():
    method, batch = linear_game(updates=5), pair()
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    lowered = quick(method.step).lower(state, batch, jax.random.key(0)).as_text()
    assert lowered.count("stablehlo.sine") == 1


def test_steps_of_the_experiments_networks_compile_once_and_lower_the_error():
    """With donated state, the critic's convolutions and Adam; metrics are scalars."""
    config = WGAN(critic=CriticConfig(width=2, stages=1, dense=4), critic_updates=2, ema_decay=0.0)
    network = PlainCNNConfig(width=4, layers=2, residual=True)
    method, batch = config.build(network.build(), optax.adam(0.01), l1), pair(side=8)
    state = quick(method.init)(jax.random.key(0), batch)
    step = quick(method.step, donate_argnums=0)
    types = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
    state, first = step(state, batch, jax.random.key(0))
    compiled = step._cache_size()
    for i in range(40):
        state, last = step(state, batch, jax.random.key(i))
    assert step._cache_size() == compiled == 1
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)] == types
    assert {(m.shape, m.dtype) for m in last.values()} == {((), jnp.dtype("float32"))}
    assert set(last) == {
        "loss", "pixel", "adversarial", "wasserstein", "penalty",
        "gradient_norm", "critic_gradient_norm",
    }  # fmt: skip
    assert last["pixel"] < 0.8 * first["pixel"]


def test_pmap_averages_every_update_of_the_critic_too(stepped):
    before, after, metrics = stepped
    shards = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), pair())
    step = jax.pmap(
        linear_game(axis_name="data").step,
        axis_name="data",
        in_axes=(None, 0, None),
        devices=jax.devices()[:2],
    )
    shared, shared_metrics = step(before, shards, jax.random.key(5))
    for i in range(2):
        mine = jax.tree.map(lambda x, i=i: x[i], shared)
        assert difference(mine, after) < 1e-5
    np.testing.assert_allclose(shared_metrics["wasserstein"][0], metrics["wasserstein"], rtol=1e-4)


def test_devices_of_a_sharded_batch_make_the_same_step(stepped):
    before, after, _ = stepped
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.P("data"))
    everywhere = jax.device_put(before, jax.sharding.NamedSharding(mesh, jax.P()))
    shared, _ = quick(linear_game().step)(
        everywhere, jax.device_put(pair(), split), jax.random.key(5)
    )
    assert difference(after, jax.device_get(shared)) < 1e-5


def test_a_critic_that_never_learns_is_refused():
    with pytest.raises(UserError, match="critic_updates 0"):
        WGAN(critic_updates=0)
    with pytest.raises(ValueError, match="critic_updates"):
        linear_game(updates=0)
