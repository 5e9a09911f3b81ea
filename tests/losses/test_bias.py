"""The two parts of the squared error against NumPy's mean and variance, and Wiener's filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.bias import bias_constrained

SHAPE = (200, 20, 20, 1)


def images(offset: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours restored from two draws with this systematic error and this noise."""
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.uniform(size=SHAPE).astype(np.float32), 2, axis=0)
    return clean + offset + rng.normal(scale=noise, size=clean.shape).astype(np.float32), clean


@pytest.mark.parametrize(("offset", "noise", "variance"), [(0.2, 0.1, 0.3), (0.0, 0.2, 2.0)])
def test_bias_counts_in_full_and_noise_by_its_weight(offset, noise, variance):
    value = float(bias_constrained(*images(offset, noise), variance=variance))
    expected = (offset**2 + variance * noise**2) / np.hypot(offset, noise)
    assert value == pytest.approx(expected, rel=0.03)


def test_with_weight_1_it_is_the_mean_of_root_mean_square_errors():
    restored, clean = images(0.1, 0.2)
    value = float(bias_constrained(restored, clean, variance=1.0))
    squares = np.mean((restored - clean).reshape(len(clean) // 2, -1) ** 2, axis=1)
    assert value == pytest.approx(np.mean(np.sqrt(squares)), rel=1e-4)


def test_slopes_do_not_grow_with_the_error():
    restored, clean = images(0.02, 0.01)

    def slope(scale):
        error = scale * (restored - clean)
        return np.asarray(
            jax.grad(lambda e: bias_constrained(clean + e, clean, variance=0.3))(error)
        )

    np.testing.assert_allclose(slope(30.0), slope(1.0), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("variance", [1.0, 0.25])
def test_the_best_gain_is_wieners_at_less_noise(variance):
    signal, noise = 0.3, 0.6
    rng = np.random.default_rng(1)
    clean = np.repeat(rng.normal(scale=signal, size=SHAPE), 2, axis=0)
    seen = clean + rng.normal(scale=noise, size=clean.shape)

    def slope(gain):
        steep = jax.grad(lambda g: bias_constrained(g * seen, clean, variance=variance))(gain)
        return float(steep) * np.sqrt(np.mean((gain * seen - clean) ** 2))

    # But for what it is divided by it is quadratic in the gain: two slopes tell where it is 0.
    at = [slope(jnp.float32(g)) for g in (0.0, 1.0)]
    expected = signal**2 / (signal**2 + variance * noise**2)
    assert at[0] / (at[0] - at[1]) == pytest.approx(expected, rel=0.03)


def test_what_cannot_be_compared_is_refused():
    x = jnp.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match="no two noise draws"):
        bias_constrained(x[:1], x[:1], variance=0.5)
    with pytest.raises(ValueError, match="shapes differ"):
        bias_constrained(x, x[:1], variance=0.5)
    with pytest.raises(ValueError, match="variance"):
        bias_constrained(x, x, variance=0.0)
