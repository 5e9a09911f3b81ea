"""Rician noise and bias fields by their statistics, sampling masks by counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from medjax.physics.mri import bias_field, line_mask, poisson_disc_mask, rician, zero_filled


def test_rician_noise_follows_its_distribution() -> None:
    air = rician(jax.random.key(0), jnp.zeros((200, 200)), 0.1)
    assert float(air.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    signal = rician(jax.random.key(1), jnp.full((200, 200), 0.3), 0.1)
    law = stats.rice(b=3.0, scale=0.1)
    assert float(signal.mean()) == pytest.approx(law.mean(), rel=0.005)
    assert float(signal.std()) == pytest.approx(law.std(), rel=0.02)


def test_without_noise_the_magnitude_stays_and_gradients_are_finite() -> None:
    image = jnp.asarray([[0.0, 0.5], [1.0, 2.0]])
    np.testing.assert_allclose(rician(jax.random.key(0), image, 0.0), image, atol=1e-6)
    grad = jax.grad(lambda x: rician(jax.random.key(0), x, 0.0).sum())(image)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("shape", [(40, 50), (12, 16, 14)])
def test_bias_field_is_smooth_and_as_strong_as_named(shape) -> None:
    field = np.log(np.asarray(bias_field(jax.random.key(3), shape, 0.2)))
    assert field.std() == pytest.approx(0.2, rel=1e-3)
    assert abs(field.mean()) < 1e-4
    # A cubic along every line: its fourth difference vanishes.
    for axis in range(len(shape)):
        assert np.abs(np.diff(field, 4, axis=axis)).max() < 1e-4
    np.testing.assert_allclose(bias_field(jax.random.key(3), shape, 0.0), 1.0, atol=1e-6)
    other = np.log(np.asarray(bias_field(jax.random.key(4), shape, 0.2)))
    assert np.abs(other - field).max() > 0.05


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_line_masks_acquire_what_the_acceleration_says(rng) -> None:
    mask = line_mask(256, 4.0, 24, rng)
    assert mask.sum() == 64
    assert mask[128 - 12 : 128 + 12].all()
    outside = np.r_[mask[:116], mask[140:]]
    assert outside.sum() == 40 and outside[:116].sum() in range(10, 31)


def test_regular_lines_are_evenly_spread() -> None:
    gaps = np.diff(np.flatnonzero(line_mask(240, 4.0, 0)))
    assert set(gaps) == {4}


def test_poisson_disc_is_denser_in_the_middle_and_keeps_its_distances() -> None:
    mask = poisson_disc_mask((64, 72), 5.0, 8, np.random.default_rng(0))
    assert mask.sum() == pytest.approx(64 * 72 / 5, rel=0.03)
    assert mask[28:36, 32:40].all()
    z, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 72), indexing="ij")
    radius = np.hypot(z, y)
    assert mask[(radius > 0.2) & (radius < 0.5)].mean() > 1.5 * mask[radius > 1].mean()
    # As many random points would have neighbours side by side.
    edge = np.argwhere(mask & (radius > 0.9))
    assert cKDTree(edge).query(edge, k=2)[0][:, 1].min() >= 2


def test_impossible_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="under 1"):
        line_mask(64, 0.5, 4)
    with pytest.raises(ValueError, match="centre"):
        line_mask(64, 8.0, 16)
    with pytest.raises(ValueError, match="mask"):
        zero_filled(jnp.zeros((8, 8)), np.ones(7, bool), (0,))


def test_all_samples_give_the_image_and_every_second_line_two_ghosts() -> None:
    image = np.zeros((32, 20), np.float32)
    image[4:10, 6:12] = 1
    np.testing.assert_allclose(zero_filled(image, np.ones(32, bool), (0,)), image, atol=1e-6)
    every_second = np.arange(32) % 2 == 0
    expected = (image + np.roll(image, 16, axis=0)) / 2
    np.testing.assert_allclose(zero_filled(image, every_second, (0,)), expected, atol=1e-6)


def test_masks_over_two_axes_of_a_volume() -> None:
    volume = np.random.default_rng(0).uniform(size=(8, 10, 6)).astype(np.float32)
    mask = poisson_disc_mask((8, 10), 2.0, 4, np.random.default_rng(1))
    kspace = np.fft.fftshift(np.fft.fftn(volume, axes=(0, 1)), axes=(0, 1)) * mask[..., None]
    expected = np.abs(np.fft.ifftn(np.fft.ifftshift(kspace, axes=(0, 1)), axes=(0, 1)))
    np.testing.assert_allclose(zero_filled(volume, mask, (0, 1)), expected, atol=1e-5)
