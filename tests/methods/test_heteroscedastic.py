"""The heteroscedastic method against plain regression and against errors of known scatter."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.losses.likelihood import Law
from medjax.methods.base import Pair
from medjax.methods.heteroscedastic import heteroscedastic
from medjax.methods.regression import regression
from medjax.models.masked import MaskedConfig
from medjax.models.unet import UNetConfig
from medjax.models.with_spread import START, WithSpreadConfig

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SHAPE = (2, 16, 12, 1)
INNER = UNetConfig(width=2, depth=0, convs_per_level=1, norm="none")
NETWORK = WithSpreadConfig(INNER).build()


def pair() -> Pair:
    clean = jax.random.uniform(jax.random.key(1), SHAPE)
    noise = 0.3 * jax.random.normal(jax.random.key(2), SHAPE)
    return Pair(jnp.concatenate([clean + noise, jnp.full_like(clean, 0.3)], axis=-1), clean)


class Halves(nn.Module):
    """Two trunks that share nothing: what each learns shows whose gradient reached it."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return jnp.concatenate([nn.Dense(1, name="mean")(x), nn.Dense(1, name="scale")(x)], -1)


def test_an_untrained_network_returns_its_input_and_the_starting_spread() -> None:
    method = heteroscedastic(NETWORK, optax.sgd(0.1), law="gaussian")
    state = quick(method.init)(jax.random.key(0), pair())
    degraded = pair().degraded
    assert method.spread is not None
    np.testing.assert_array_equal(quick(method.restore)(state, degraded), degraded[..., :1])
    np.testing.assert_allclose(quick(method.spread.std)(state, degraded), START, rtol=1e-5)


def test_the_restored_channel_learns_as_in_plain_regression() -> None:
    batch = pair()
    ours = heteroscedastic(Halves(), optax.sgd(0.1), weight=3.0, ema_decay=0)
    state = ours.init(jax.random.key(0), batch)

    class Mean(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(1, name="mean")(x)

    plain = regression(Mean(), optax.sgd(0.1), ema_decay=0)
    own = {"params": {"mean": state.network.variables["params"]["mean"]}}
    alone = plain.init(jax.random.key(0), batch)
    alone = alone.replace(network=alone.network.replace(variables=own))
    for key in range(3):
        state, metrics = quick(ours.step)(state, batch, jax.random.key(key))
        alone, other = quick(plain.step)(alone, batch, jax.random.key(key))
        np.testing.assert_allclose(metrics["pixel"], other["loss"], rtol=1e-6)
    for ours_, theirs in zip(
        jax.tree.leaves(state.network.variables["params"]["mean"]),
        jax.tree.leaves(alone.network.variables["params"]["mean"]),
        strict=True,
    ):
        np.testing.assert_allclose(ours_, theirs, rtol=1e-6)


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_the_spread_becomes_that_of_the_errors(law: Law) -> None:
    """Noise of 0.02 on dark samples and 0.2 on bright ones, which no 1x1 network can undo."""
    rng = np.random.default_rng(0)
    bright = rng.random((8, 32, 32, 1)) < 0.5
    scale = np.where(bright, 0.2, 0.02)
    draw = rng.normal if law == "gaussian" else rng.laplace
    noise = draw(0, 1 if law == "gaussian" else np.sqrt(0.5), bright.shape) * scale
    clean = jnp.asarray(bright, jnp.float32)
    batch = Pair(clean, clean + jnp.asarray(noise, jnp.float32))
    method = heteroscedastic(Halves(), optax.adam(0.05), law=law, weight=1.0, ema_decay=0)
    state = method.init(jax.random.key(0), batch)
    step = quick(method.step)
    for key in range(300):
        state, _ = step(state, batch, jax.random.key(key))
    assert method.spread is not None and method.spread.law == law
    std = np.asarray(method.spread.std(state, batch.degraded))
    np.testing.assert_allclose(std[bright], 0.2, rtol=0.1)
    np.testing.assert_allclose(std[~bright], 0.02, rtol=0.1)


def test_networks_without_a_second_channel_are_refused() -> None:
    method = heteroscedastic(INNER.build(), optax.sgd(0.1))
    with pytest.raises(UserError, match=r"1 channels.*WithSpreadConfig"):
        jax.eval_shape(method.init, jax.random.key(0), pair())


def test_networks_that_cannot_double_their_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="MaskedConfig has no out_channels"):
        WithSpreadConfig(MaskedConfig())
