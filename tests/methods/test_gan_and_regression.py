"""The cGAN and regression steps against losses and gradients written out with `jax.grad`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.methods.base import Method, Pair
from medjax.methods.cgan import CGANWeights, cgan
from medjax.methods.regression import regression
from medjax.methods.supervised import SupervisedState
from medjax.models.patchgan import PatchGAN, PatchGANConfig
from medjax.models.unet import UNet, UNetConfig

G = UNet(UNetConfig(width=2, depth=1, convs_per_level=1, residual=False))
D = PatchGAN(PatchGANConfig(width=2, layers=1))
RATE = 0.5

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def pair(n: int = 4, side: int = 12) -> Pair:
    clean = jax.random.uniform(jax.random.key(1), (n, side, side, 1))
    level = jnp.full_like(clean, 0.3)
    degraded = clean + level * jax.random.normal(jax.random.key(2), clean.shape)
    return Pair(jnp.concatenate([degraded, level], axis=-1), clean)


def sgd_gan(**options) -> Method:
    return cgan(G, D, optax.sgd(RATE), optax.sgd(RATE), **options)


def difference(a, b) -> float:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.abs(x - y).max()) for x, y in leaves)


@pytest.fixture(scope="module")
def stepped():
    """(state before, state after, metrics) of one cGAN step with plain gradient descent."""
    method, batch = sgd_gan(), pair()
    before = quick(method.init)(jax.random.key(0), batch)
    after, metrics = quick(method.step)(before, batch, jax.random.key(5))
    return before, after, metrics


def train(net, variables, *inputs):
    return net.apply(variables, *inputs, train=True, mutable=["batch_stats"])


def bce(logits, target):
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target)))


def test_generator_update_is_the_gradient_of_the_articles_loss(stepped):
    before, after, metrics = stepped
    batch, vars_g, vars_d = pair(), before.generator.variables, before.discriminator.variables

    @quick
    @jax.value_and_grad
    def loss(params):
        fake, _ = train(G, {**vars_g, "params": params}, batch.degraded)
        logits, _ = train(D, vars_d, batch.degraded, fake)
        return 0.01 * bce(logits, 1.0) + 0.99 * jnp.abs(fake - batch.clean).mean()

    value, gradient = loss(vars_g["params"])
    expected = jax.tree.map(lambda p, g: p - RATE * g, vars_g["params"], gradient)
    assert difference(after.generator.variables["params"], expected) < 1e-6
    assert difference(after.generator.variables["params"], vars_g["params"]) > 1e-3
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["gradient_norm"],
        np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient))),
        rtol=1e-4,
    )


def test_discriminator_update_is_its_own_gradient_with_the_fakes_held_fixed(stepped):
    before, after, metrics = stepped
    batch, vars_d = pair(), before.discriminator.variables
    fake, _ = train(G, before.generator.variables, batch.degraded)

    @quick
    @jax.value_and_grad
    def loss(params):
        real_logits, _ = train(D, {**vars_d, "params": params}, batch.degraded, batch.clean)
        fake_logits, _ = train(D, {**vars_d, "params": params}, batch.degraded, fake)
        return (bce(real_logits, 1.0) + bce(fake_logits, 0.0)) / 2

    value, gradient = loss(vars_d["params"])
    expected = jax.tree.map(lambda p, g: p - RATE * g, vars_d["params"], gradient)
    assert difference(after.discriminator.variables["params"], expected) < 1e-6
    assert difference(after.discriminator.variables["params"], vars_d["params"]) > 1e-4
    total = (metrics["discriminator_real"] + metrics["discriminator_fake"]) / 2
    np.testing.assert_allclose(total, value, rtol=1e-5)


def test_statistics_move_in_a_step_and_not_in_restore(stepped):
    before, after, _ = stepped
    for name in ("generator", "discriminator"):
        old, new = getattr(before, name).variables, getattr(after, name).variables
        assert difference(old["batch_stats"], new["batch_stats"]) > 1e-3
    batch = pair()
    restore = quick(sgd_gan().restore)
    alone = restore(after, batch.degraded[:1])
    np.testing.assert_allclose(restore(after, batch.degraded)[:1], alone, atol=1e-5)


def test_restore_uses_the_averaged_generator_in_evaluation_mode(stepped):
    before, after, _ = stepped
    x = pair().degraded
    keep = 1 / 10  # of the first step
    average = jax.tree.map(
        lambda a, b: keep * a + (1 - keep) * b,
        before.generator.variables,
        after.generator.variables,
    )
    np.testing.assert_allclose(
        sgd_gan().restore(after, x), G.apply(average, x, train=False), atol=1e-5
    )


def test_metrics_are_float32_scalars_and_the_state_keeps_its_types(stepped):
    before, after, metrics = stepped
    assert {(m.shape, m.dtype) for m in metrics.values()} == {((), jnp.dtype("float32"))}
    assert set(metrics) == {
        "loss", "pixel", "adversarial", "discriminator_real", "discriminator_fake",
        "gradient_norm", "discriminator_gradient_norm",
    }  # fmt: skip
    assert int(after.step) == 1
    assert jax.tree.structure(before) == jax.tree.structure(after)
    types = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)]
    assert types == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(before)]


def test_zero_adversarial_weight_is_regression(stepped):
    before, _, _ = stepped
    batch, key = pair(), jax.random.key(5)
    plain = regression(G, optax.sgd(RATE))
    start = SupervisedState(step=before.step, ema=before.ema, network=before.generator)
    expected, plain_metrics = quick(plain.step)(start, batch, key)
    state, metrics = quick(sgd_gan(weights=CGANWeights(0.0, 1.0)).step)(before, batch, key)
    assert difference(state.generator, expected.network) < 1e-6
    assert difference(state.ema, expected.ema) < 1e-6
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(metrics[name], plain_metrics[name], rtol=1e-5)


class Linear(nn.Module):
    """One linear layer."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(1)(x)


class Sine(nn.Module):
    """A generator whose forward pass is one sine, so that passes can be counted."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return jnp.sin(self.param("scale", nn.initializers.ones, (1,)) * x[..., :1])


class Mean(nn.Module):
    """A discriminator whose forward pass is one hyperbolic tangent."""

    @nn.compact
    def __call__(self, condition, image, *, train=False):
        both = jnp.concatenate([condition, image], axis=-1)
        return jnp.tanh(nn.Dense(1)(both))


def test_a_step_runs_the_generator_once_and_the_discriminator_twice():
    method, batch = cgan(Sine(), Mean(), optax.sgd(1.0), optax.sgd(1.0)), pair()
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    lowered = quick(method.step).lower(state, batch, jax.random.key(0)).as_text()
    assert lowered.count("stablehlo.sine") == 1
    assert lowered.count("stablehlo.tanh") == 2


def test_training_lowers_the_error_with_donated_state():
    method = cgan(Linear(), D, optax.adam(0.05), optax.adam(1e-3), adversarial="hinge")
    batch = pair()
    state = quick(method.init)(jax.random.key(0), batch)
    step = quick(method.step, donate_argnums=0)
    state, first = step(state, batch, jax.random.key(0))
    for i in range(60):
        state, last = step(state, batch, jax.random.key(i))
    assert last["pixel"] < 0.6 * first["pixel"]
    error = jnp.abs(method.restore(state, batch.degraded) - batch.clean).mean()
    assert error < 0.8 * first["pixel"]


class Dropped(nn.Module):
    """A network without statistics and with dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        h = nn.Dropout(0.5, deterministic=not train)(nn.Dense(8)(x))
        return nn.Dense(1)(h)


def test_dropout_follows_the_key_and_is_off_in_restore():
    method, batch = regression(Dropped(), optax.sgd(0.1)), pair()
    state = quick(method.init)(jax.random.key(0), batch)
    step = quick(method.step)
    losses = [float(step(state, batch, jax.random.key(i))[1]["loss"]) for i in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    restored = method.restore(state, batch.degraded)
    np.testing.assert_array_equal(restored, method.restore(state, batch.degraded))


def test_devices_of_a_sharded_batch_share_statistics_and_gradients(stepped):
    """Under `jit` with the batch split over devices, the step equals the one on one device."""
    batch = pair()
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.P("data"))
    before, alone, _ = stepped
    everywhere = jax.device_put(before, jax.sharding.NamedSharding(mesh, jax.P()))
    shared, _ = quick(sgd_gan().step)(everywhere, jax.device_put(batch, split), jax.random.key(5))
    assert difference(alone, jax.device_get(shared)) < 1e-5


def test_pmap_averages_over_its_axis():
    """With the gradient of a mean over equal shards, `pmap` gives the global step."""
    net = Linear()
    method = regression(net, optax.sgd(0.1), axis_name="data")
    plain = regression(net, optax.sgd(0.1))
    batch, devices = pair(), jax.devices()[:2]
    state = plain.init(jax.random.key(0), batch)
    expected, metrics = quick(plain.step)(state, batch, jax.random.key(0))
    shards = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch)
    pmapped = jax.pmap(
        method.step, axis_name="data", in_axes=(None, 0, None), out_axes=0, devices=devices
    )
    shared, shared_metrics = pmapped(state, shards, jax.random.key(0))
    for i in range(2):
        mine = jax.tree.map(lambda x, i=i: x[i], shared)
        assert difference(mine.network.variables, expected.network.variables) < 1e-6
    np.testing.assert_allclose(shared_metrics["loss"], metrics["loss"], rtol=1e-6)
