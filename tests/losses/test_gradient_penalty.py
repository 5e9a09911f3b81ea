"""The gradient penalty against scores whose slopes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.gradient_penalty import gradient_penalty


def images(n: int = 3, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    both = jax.random.normal(jax.random.key(seed), (2, n, 4, 5, 1))
    return both[0], both[1]


def linear(weight: jax.Array):
    return lambda x: jnp.sum(weight * x, axis=(1, 2, 3))


@pytest.mark.parametrize("length", [0.25, 1.0, 3.0])
def test_a_linear_score_is_as_steep_as_its_weights_are_long(length):
    weight = images()[0][0]
    weight *= length / jnp.linalg.norm(weight)

    def penalty(weight):
        return gradient_penalty(linear(weight), *images(), jax.random.key(1))

    value, slope = jax.value_and_grad(penalty)(weight)
    np.testing.assert_allclose(value, (length - 1) ** 2, atol=1e-6)
    np.testing.assert_allclose(slope, 2 * (length - 1) * weight / length, atol=1e-5)


def test_it_is_taken_between_real_and_fake_each_image_at_a_place_of_its_own():
    """The slope of |x|²/2 is x: with fakes of 0, the share of a real image of length 1."""
    real = jnp.full((4000, 2, 2, 1), 0.5)
    squares = lambda x: jnp.sum(x**2, axis=(1, 2, 3)) / 2  # noqa: E731
    found = gradient_penalty(squares, real, jnp.zeros_like(real), jax.random.key(2))
    # The mean of (share - 1)² is 1/3, its standard deviation 0.298.
    assert float(found) == pytest.approx(1 / 3, abs=4 * 0.298 / 4000**0.5)


def test_a_flat_score_has_a_slope_to_follow_that_is_finite():
    def penalty(weight):
        return gradient_penalty(linear(weight), *images(), jax.random.key(1))

    value, slope = jax.value_and_grad(penalty)(jnp.zeros((4, 5, 1)))
    assert float(value) == pytest.approx(1.0, abs=1e-5) and np.isfinite(slope).all()
