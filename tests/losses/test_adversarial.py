"""Adversarial losses against their formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.adversarial import adversarial_loss

LOGITS = np.random.default_rng(0).normal(scale=3, size=(2, 5, 5, 1))
SIGMOID = 1 / (1 + np.exp(-LOGITS))
EXPECTED = {
    "bce": (-np.log(SIGMOID), -np.log(1 - SIGMOID), -np.log(SIGMOID)),
    "lsgan": ((LOGITS - 1) ** 2, LOGITS**2, (LOGITS - 1) ** 2),
    "hinge": (np.maximum(0, 1 - LOGITS), np.maximum(0, 1 + LOGITS), -LOGITS),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_values_match_the_formulas(name):
    loss, logits = adversarial_loss(name), jnp.asarray(LOGITS, jnp.float32)
    for term, expected in zip(loss, EXPECTED[name], strict=True):
        value = term(logits)
        assert value.shape == () and value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_players_pull_in_opposite_directions(name):
    loss, logits = adversarial_loss(name), jnp.zeros((3, 3))
    assert (jax.grad(loss.real)(logits) < 0).all()
    assert (jax.grad(loss.fake)(logits) >= 0).all() and (jax.grad(loss.fake)(logits + 1) > 0).all()
    assert (jax.grad(loss.generator)(logits) < 0).all()


def test_cross_entropy_survives_extreme_logits():
    loss = adversarial_loss("bce")
    for term, hopeless in ((loss.real, -1e4), (loss.fake, 1e4)):
        value, gradient = jax.value_and_grad(term)(jnp.float32(hopeless))
        np.testing.assert_allclose(value, 1e4)
        np.testing.assert_allclose(abs(gradient), 1)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="wgan"):
        adversarial_loss("wgan")  # type: ignore[arg-type]
