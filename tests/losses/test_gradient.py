import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.gradient import edge_loss


@pytest.mark.parametrize("space", [(8, 9), (4, 5, 6)])
def test_agrees_with_numpy_diff(space):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, *space, 2)).astype(np.float32) for _ in range(2))
    axes = range(1, 1 + len(space))
    expected = np.mean([np.abs(np.diff(a, axis=i) - np.diff(b, axis=i)).mean() for i in axes])
    assert float(edge_loss(a, b)) == pytest.approx(float(expected), rel=1e-5)


def test_spacing_makes_it_the_slope_per_millimetre():
    z, y, x = np.meshgrid(np.arange(4.0), np.arange(5.0), np.arange(6.0), indexing="ij")
    ramp = jnp.asarray(5 * 3.0 * z + 2 * 0.5 * y + 1 * 0.5 * x, jnp.float32)[None, ..., None]
    loss = edge_loss(ramp, jnp.zeros_like(ramp), spacing=(3.0, 0.5, 0.5))
    assert float(loss) == pytest.approx((5 + 2 + 1) / 3, rel=1e-5)


def test_blind_to_an_offset_but_not_to_an_inverted_edge():
    step = jnp.zeros((1, 8, 8, 1)).at[:, 4:].set(1.0)
    assert float(edge_loss(step + 3, step)) == 0
    assert float(edge_loss(-step, step)) > 0.1


def test_gradient_is_finite_at_equality():
    x = jnp.ones((1, 6, 6, 1))
    assert np.isfinite(jax.jit(jax.grad(edge_loss))(x, x)).all()


def test_errors():
    x = jnp.zeros((1, 6, 6, 1))
    with pytest.raises(ValueError, match="shapes differ"):
        edge_loss(x, x[:, :5])
    with pytest.raises(ValueError, match="spacing"):
        edge_loss(x, x, spacing=(1.0,))
    with pytest.raises(ValueError, match="one sample"):
        edge_loss(x[:, :1], x[:, :1])
