"""The median found bit by bit against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.physics.median import median_of_magnitudes


@pytest.mark.parametrize("shape", [(1,), (2,), (7, 3), (5, 4, 256), (2, 1001)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_it_is_numpys_median(shape, scale):
    x = np.abs(np.random.default_rng(0).standard_normal(shape, np.float32)) * np.float32(scale)
    found = jax.jit(median_of_magnitudes)(x)
    assert found.shape == shape[:-1]
    np.testing.assert_allclose(found, np.median(x, axis=-1), rtol=2e-7)


@pytest.mark.parametrize(
    "samples",
    [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
        [0, 1, 1, 1],
        [2, 2, 2],
        [3, 1, 2, 2],
        [0, np.inf, np.inf],
        [1, 2, np.inf, np.inf],
    ],
)
def test_equal_samples_zeros_and_extremes(samples):
    x = np.array(samples, np.float32)
    np.testing.assert_array_equal(median_of_magnitudes(jnp.asarray(x)), np.median(x))


def test_bits_are_those_of_jax_median():
    x = jnp.abs(jax.random.normal(jax.random.key(1), (64, 256)))
    np.testing.assert_array_equal(jax.jit(median_of_magnitudes)(x), jnp.median(x, axis=-1))


def test_one_sample_that_is_no_number_makes_none_of_its_median():
    x = jnp.asarray([[1.0, jnp.nan, 2.0], [1.0, 3.0, 2.0]])
    np.testing.assert_array_equal(median_of_magnitudes(x), [np.nan, 2])


def test_no_gradient_passes():
    gradient = jax.grad(lambda x: median_of_magnitudes(x).sum())(jnp.ones((2, 3)))
    np.testing.assert_array_equal(gradient, 0)
