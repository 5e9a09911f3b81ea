import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cityblock
from skimage.metrics import mean_squared_error

from medjax.losses.pixel import charbonnier, l1, l2, rms


@pytest.mark.parametrize("space", [(8, 9), (4, 5, 6), (2, 3, 4, 5)])
def test_l1_and_l2_agree_with_scipy_and_scikit_image(space):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, *space, 1)).astype(np.float32) for _ in range(2))
    assert float(l1(a, b)) == pytest.approx(cityblock(a.ravel(), b.ravel()) / a.size, rel=1e-5)
    assert float(l2(a, b)) == pytest.approx(mean_squared_error(a, b), rel=1e-5)


def test_charbonnier_is_epsilon_at_equality_and_l1_far_away():
    x = jnp.ones((1, 4, 4, 1))
    assert float(charbonnier(x, x, epsilon=0.01)) == pytest.approx(0.01)
    assert float(charbonnier(x + 5, x, epsilon=0.01)) == pytest.approx(5.0, rel=1e-5)


def test_charbonnier_gradient_is_zero_at_equality():
    x = jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(jax.grad(charbonnier)(x, x), np.zeros(x.shape))


@pytest.mark.parametrize("loss", [l1, l2, rms, charbonnier])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match="shapes differ"):
        loss(jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 4, 4)))


def test_rms_is_the_mean_of_the_root_of_each_images_scikit_image_mse():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(3, 8, 9, 2)).astype(np.float32) for _ in range(2))
    a[1] = b[1] + 10 * (a[1] - b[1])
    wanted = np.mean([mean_squared_error(x, y) ** 0.5 for x, y in zip(a, b, strict=True)])
    assert float(rms(a, b, epsilon=1e-6)) == pytest.approx(wanted, rel=1e-5)


def test_each_images_rms_pulls_alike_however_large_its_error():
    clean = np.zeros((2, 8, 8, 1), np.float32)
    error = np.random.default_rng(0).normal(size=(8, 8, 1)).astype(np.float32)
    small, large = jax.grad(rms)(np.stack([0.1 * error, 10 * error]), clean)
    np.testing.assert_allclose(small, large, rtol=1e-3)


def test_rms_costs_nothing_and_pulls_nowhere_at_equality():
    x = jnp.ones((2, 4, 4, 1))
    value, slope = jax.value_and_grad(rms)(x, x)
    assert float(value) == 0.0
    np.testing.assert_array_equal(slope, np.zeros(x.shape))


@pytest.mark.parametrize("loss", [rms, charbonnier])
def test_epsilon_zero_is_refused(loss):
    with pytest.raises(ValueError, match="epsilon"):
        loss(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1)), epsilon=0.0)
