"""Training in both domains: the objective's value in cases that can be done by hand."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.losses.pixel import l2
from medjax.methods.base import Pair
from medjax.methods.dual_domain import dual_domain, sinogram_loss


class Both(NamedTuple):
    image: jax.Array
    sinogram: jax.Array


class Shift(nn.Module):
    """Adds one learned number to the image and twice as much to the sinogram."""

    def __call__(self, x, *, train: bool = False):
        return self.both(x, train=train).image

    @nn.compact
    def both(self, x, *, train: bool = False) -> Both:
        a = self.param("a", nn.initializers.zeros, ())
        return Both(x["image"] + a, x["sinogram"] + 2 * a)


def pair() -> Pair:
    image, rays = jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 3, 5, 1))
    # Errors of 3 and 5 where the noise is 6 and 2: half the level, and two and a half times it.
    off = jnp.asarray([3.0, -5.0]).reshape(2, 1, 1, 1)
    level = jnp.asarray([6.0, 2.0]).reshape(2, 1, 1, 1) * jnp.ones_like(rays)
    return Pair(
        {"image": image + 2.0, "sinogram": rays + off, "level": level},
        {"image": image, "sinogram": rays},
    )


def test_sinogram_loss_is_in_units_of_each_scans_noise() -> None:
    degraded, clean = pair()
    value = sinogram_loss(degraded["sinogram"], clean["sinogram"], degraded["level"])
    assert float(value) == pytest.approx((0.5 + 2.5) / 2)
    white = jax.random.normal(jax.random.key(0), (1, 200, 200, 1))
    loss = sinogram_loss(7 * white, jnp.zeros_like(white), jnp.full_like(white, 7))
    assert float(loss) == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)


def test_objective_and_first_step_by_hand() -> None:
    method = dual_domain(Shift(), optax.sgd(0.1), loss=l2, sinogram_weight=0.5, ema_decay=0)
    state = method.init(jax.random.key(0), pair())
    state, metrics = jax.jit(method.step)(state, pair(), jax.random.key(1))
    # d/da [(2 + a)²] = 4; d/da of the rays: 0.5 * mean(2 / 6, -2 / 2) = -1 / 6.
    expected = {"loss": 4 + 0.5 * 1.5, "pixel": 4.0, "sinogram": 1.5, "gradient_norm": 4 - 1 / 6}
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx(expected, rel=1e-6)
    restored = method.restore(state, pair().degraded)
    np.testing.assert_allclose(restored, 2 - 0.1 * (4 - 1 / 6), rtol=1e-6)


def test_networks_of_one_domain_are_refused() -> None:
    with pytest.raises(UserError, match="DDANetConfig"):
        dual_domain(nn.Dense(1), optax.sgd(0.1))
    with pytest.raises(UserError, match="sinogram_weight"):
        dual_domain(Shift(), optax.sgd(0.1), sinogram_weight=-1.0)
