"""Noise levels of rays against the spread of many noisy scans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from medjax.physics.ct import DoseModel, blind_ray_noise, box_mean, low_dose, ray_noise


@pytest.mark.parametrize(("integral", "dose"), [(1.0, 1.0), (4.0, 0.25), (5.0, 0.05)])
def test_level_of_a_known_scanner_is_the_spread_of_its_scans(integral: float, dose: float) -> None:
    clean = jnp.full((1, 60, 60, 1), integral)
    model = DoseModel(photons=2e5)
    offset = jnp.linspace(-80, 80, 60)[:, None]
    noisy = low_dose(jax.random.key(0), clean, dose, model, offset, "gaussian")
    level = ray_noise(noisy, dose, model, offset)
    spread = jnp.sqrt(jnp.mean((noisy - clean) ** 2, axis=1))
    np.testing.assert_allclose(
        jnp.mean(spread / level.mean(axis=1)), 1, atol=0.05 if integral < 5 else 0.12
    )


def test_level_of_rays_without_photons_stays_near_one() -> None:
    level = ray_noise(jnp.full((1, 4, 4, 1), 30.0), 0.1, DoseModel())
    np.testing.assert_allclose(level, 1, atol=0.1)


def test_blind_level_of_white_noise_is_its_deviation() -> None:
    scale = jnp.asarray([0.2, 3.0])
    noise = scale * jax.random.normal(jax.random.key(0), (1, 96, 96, 2))
    level = blind_ray_noise(noise + jnp.linspace(0, 5, 96)[:, None])
    np.testing.assert_allclose(level.mean(axis=(0, 1, 2)), scale, rtol=0.04)


def test_box_mean_is_scipys_uniform_filter() -> None:
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 1)).astype(np.float32)
    expected = uniform_filter(x, (0, 5, 5, 0), mode="nearest")
    np.testing.assert_allclose(box_mean(jnp.asarray(x), 5), expected, atol=1e-5)
