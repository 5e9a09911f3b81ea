"""The KL against PyTorch-free references: quadrature of the definition, and its own limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from medjax.losses.kl import gaussian_kl, kl_loss


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 0.3), (-2.0, 4.0), (0.1, 0.01)])
def test_equals_the_integral_that_defines_it(mean, variance):
    q, p = norm(mean, np.sqrt(variance)), norm()
    ends = mean - 12 * np.sqrt(variance), mean + 12 * np.sqrt(variance)
    expected, _ = quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), *ends)
    got = gaussian_kl(jnp.full((1, 1), mean), jnp.full((1, 1), jnp.log(variance)))
    assert float(got[0, 0]) == pytest.approx(expected, abs=1e-5)


def test_keeps_its_shape_and_its_accuracy_near_the_prior():
    # KL ~ (mean² + log_variance² / 2) / 2 where both are small.
    m, v = jnp.full((2, 3, 4, 5), 1e-3), jnp.full((2, 3, 4, 5), 2e-3)
    got = gaussian_kl(m, v)
    assert got.shape == m.shape
    np.testing.assert_allclose(got, 0.5 * (1e-6 + 2e-6), rtol=2e-2)


def test_loss_is_the_sum_over_latents_and_the_mean_over_the_batch():
    rng = np.random.default_rng(0)
    m, v = (jnp.asarray(rng.normal(size=(3, 4, 4, 2)), jnp.float32) for _ in range(2))
    per_sample = np.asarray(0.5 * (m**2 + np.exp(v) - 1 - v)).reshape(3, -1).sum(1)
    assert float(kl_loss(m, v, beta=0.25)) == pytest.approx(0.25 * per_sample.mean(), rel=1e-5)


def test_free_bits_floor_each_channel_and_stop_its_gradient():
    # Channel 0 carries 2 nats over its 4 positions, channel 1 next to nothing.
    m = jnp.zeros((2, 2, 2, 2)).at[..., 0].set(1.0).at[..., 1].set(0.1)
    v = jnp.zeros_like(m)
    assert float(kl_loss(m, v, free_bits=0.5)) == pytest.approx(2.0 + 0.5)
    slope = jax.grad(lambda m: kl_loss(m, v, free_bits=0.5))(m)
    assert (slope[..., 0] > 0).all()
    np.testing.assert_array_equal(slope[..., 1], 0)
    assert (jax.grad(lambda m: kl_loss(m, v))(m)[..., 1] > 0).all()


def test_errors():
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="shapes differ"):
        gaussian_kl(x, x[:, :1])
    with pytest.raises(ValueError, match="beta"):
        kl_loss(x, x, beta=-1.0)
    with pytest.raises(ValueError, match="channel"):
        kl_loss(x[0], x[0])
