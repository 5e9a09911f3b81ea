"""Degraded photographs against SciPy's blur and the noise and light that were asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.physics.fundus import Faults, defocus, degrade, sensor_noise, smooth_field


def faults(blur=0.0, shade=0.0, noise=0.0, count=1) -> Faults:
    return Faults(*(jnp.full((count,), x) for x in (blur, shade, noise)))


def scene(side: int = 40) -> jax.Array:
    return jax.random.uniform(jax.random.key(0), (2, side, side + 3, 1), minval=0.2, maxval=0.8)


def test_defocus_is_scipys_gaussian_with_a_blur_an_image():
    image, blur = scene(), jnp.asarray([0.8, 1.7])
    found = jax.jit(defocus, static_argnums=2)(image, blur, 2.0)
    for i in range(2):
        expected = ndimage.gaussian_filter(
            np.asarray(image[i, ..., 0], np.float64), float(blur[i]), mode="nearest", radius=6
        )
        np.testing.assert_allclose(found[i, ..., 0], expected, atol=1e-5)


def test_no_fault_changes_nothing():
    image = scene()
    shot = degrade(jax.random.key(1), image, faults(count=2), scale=100.0, max_blur=1.0)
    np.testing.assert_allclose(shot.image, image, atol=1e-6)


def test_light_varies_slowly_with_the_strength_asked_for():
    fields = smooth_field(jax.random.key(2), (400, 24, 24, 1), 100.0)
    assert float(fields.mean()) == pytest.approx(0, abs=0.1)
    assert float(fields.std()) == pytest.approx(1, rel=0.05)
    slope = jnp.abs(jnp.diff(fields, axis=1)).max()
    # All 16 waves of the shortest length in phase; no field can be steeper.
    assert slope < 2 * np.pi / 100 * np.sqrt(2 * 16)
    flat = jnp.full((400, 8, 8, 1), 0.2)
    shot = degrade(jax.random.key(2), flat, faults(shade=0.1, count=400), scale=100.0, max_blur=1.0)
    assert float(jnp.log(shot.image[:, 4, 4, 0] / 0.2).std()) == pytest.approx(0.1, rel=0.12)


def test_noise_grows_with_the_root_of_the_light():
    light = jnp.asarray([1.0, 0.0])[:, None, None, None] * jnp.ones((2, 200, 200, 1))
    noise = sensor_noise(jax.random.key(0), light, jnp.asarray([0.06, 0.06]))
    np.testing.assert_allclose(noise.std((1, 2, 3)), [0.06, 0.02], rtol=0.02)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), 0, atol=1e-3)


def test_a_shot_stays_between_black_and_white_and_follows_its_key():
    bad = faults(1.0, 0.3, 0.5, 2)
    first, again, other = (
        degrade(jax.random.key(k), scene(), bad, scale=50.0, max_blur=1.0) for k in (0, 0, 1)
    )
    assert first.image.min() >= 0 and first.image.max() <= 1
    np.testing.assert_array_equal(first.image, again.image)
    assert jnp.abs(first.noiseless - other.noiseless).max() > 0.05


def test_a_gradient_reaches_image_and_faults():
    def loss(image, bad):
        shot = degrade(jax.random.key(0), image, bad, scale=50.0, max_blur=1.5)
        return jnp.sum(shot.image**2)

    gradients = jax.grad(loss, argnums=(0, 1))(scene(12), faults(1.0, 0.1, 0.02, 2))
    assert all(jnp.isfinite(g).all() and jnp.abs(g).max() > 0 for g in jax.tree.leaves(gradients))
