"""The perceptual distance as a metric: windows, volumes, and what it finds far apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from medjax.losses.perceptual import feature_distance, feature_space
from medjax.metrics.perceptual import perceptual_distance
from medjax.weights import vgg16


def images():
    clean = data.camera()[::8, ::8].astype(np.float32)[8:56, 8:56] / 255
    noise = 0.1 * np.random.default_rng(0).normal(size=clean.shape)
    degraded = (clean, gaussian_filter(clean, 0.5), gaussian_filter(clean, 2.0), clean + noise)
    restored = np.stack(degraded)[..., None].astype(np.float32)
    return restored, np.broadcast_to(clean[..., None], restored.shape)


def test_one_value_a_case_0_at_equality_and_growing_with_blur():
    got = np.asarray(perceptual_distance(*images(), data_range=1.0))
    assert got.shape == (4,) and got[0] == 0 and 0 < got[1] < got[2] and got[3] > 0.02
    clipped = (jnp.clip(jnp.asarray(x), 0, 1) for x in images())
    expected = feature_distance(*clipped, space=feature_space(vgg16.load("bundled")))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


def test_sees_the_window_and_nothing_beyond_it():
    restored, clean = images()
    expected = perceptual_distance(restored, clean, data_range=1.0)
    hu = [400 * np.clip(x, 0, 1) - 160 for x in (restored, clean)]
    got = perceptual_distance(*hu, data_range=400.0, black=-160.0)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
    bone = np.where(clean > 0.7, 2000.0, hu[0]), np.where(clean > 0.7, 900.0, hu[1])
    same = np.where(clean > 0.7, 240.0, hu[0]), np.where(clean > 0.7, 240.0, hu[1])
    windows = [perceptual_distance(*x, data_range=400.0, black=-160.0) for x in (bone, same)]
    np.testing.assert_allclose(*windows, rtol=1e-5)


def test_a_volume_is_the_mean_of_its_slices_and_it_can_be_jitted():
    restored, clean = images()
    slices = perceptual_distance(restored, clean, data_range=1.0)
    volumes = (jnp.asarray(x).reshape(2, 2, 48, 48, 1) for x in (restored, clean))
    got = jax.jit(lambda a, b: perceptual_distance(a, b, data_range=1.0))(*volumes)
    np.testing.assert_allclose(got, np.asarray(slices).reshape(2, 2).mean(1), rtol=1e-4)


def test_errors():
    x = jnp.zeros((1, 16, 16, 1))
    with pytest.raises(ValueError, match="data_range"):
        perceptual_distance(x, x, data_range=0.0)
    with pytest.raises(ValueError, match="shapes differ"):
        perceptual_distance(x, x[:, :8], data_range=1.0)
    with pytest.raises(ValueError, match="4 a side"):
        perceptual_distance(x[:, :3], x[:, :3], data_range=1.0)
    with pytest.raises(TypeError, match="floating"):
        perceptual_distance(x.astype(int), x.astype(int), data_range=1.0)
