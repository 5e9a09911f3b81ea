"""pmap and one jit over a mesh are two ways to the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.methods.base import mean_over
from medjax.train import pmap

OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def step(state, batch, key, axis_name=None):
    weight, moments, mean = state

    def loss_of(weight):
        return jnp.mean((batch["x"] @ weight - batch["y"]) ** 2)

    loss, gradient = jax.value_and_grad(loss_of)(weight)
    loss, gradient, seen = mean_over(axis_name, (loss, gradient, batch["x"].mean(0)))
    update, moments = OPTIMIZER.update(gradient, moments)
    mean = 0.9 * mean + 0.1 * seen
    return (optax.apply_updates(weight, update), moments, mean), {"loss": loss}


def test_pmap_equals_jit():
    rng = np.random.default_rng(0)
    weight = jnp.asarray(rng.normal(size=3), jnp.float32)
    state = (weight, OPTIMIZER.init(weight), jnp.zeros(3))
    many = pmap.replicate(state, 8)
    run = pmap.pmapped(functools.partial(step, axis_name=pmap.AXIS))
    for index in range(5):
        batch = {
            "x": rng.normal(size=(16, 3)).astype(np.float32),
            "y": rng.normal(size=16).astype(np.float32),
        }
        key = jax.random.key(index)
        state, metrics = jax.jit(step)(state, batch, key)
        many, spread = run(many, pmap.split(batch, 8), key)
        np.testing.assert_allclose(spread["loss"], np.full(8, metrics["loss"]), rtol=1e-5)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(other, np.stack([one] * 8), rtol=1e-5, atol=1e-6)


def test_each_device_draws_its_own_noise():
    def draw(state, batch, key):
        return state, {"noise": jax.random.normal(key, (), jnp.float32) ** 2}

    run = pmap.pmapped(draw)
    key = jax.random.key(3)
    _, metrics = run(jnp.zeros(8), jnp.zeros((8, 1)), key)
    own = [jax.random.normal(jax.random.fold_in(key, device)) ** 2 for device in range(8)]
    np.testing.assert_allclose(metrics["noise"], own, rtol=1e-5)


def test_batches_must_divide():
    with pytest.raises(UserError, match="6 does not divide among 4"):
        pmap.split({"x": np.zeros((6, 2))}, 4)
