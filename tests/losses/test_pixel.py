import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cityblock
from skimage.metrics import mean_squared_error

from medjax.losses.pixel import charbonnier, l1, l2


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


@pytest.mark.parametrize("loss", [l1, l2, charbonnier])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match="shapes differ"):
        loss(jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 4, 4)))


def test_charbonnier_refuses_epsilon_zero():
    with pytest.raises(ValueError, match="epsilon"):
        charbonnier(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1)), epsilon=0.0)
