import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.physics.noise_level import high_pass, noise_level


@pytest.mark.parametrize("shape", [(2, 64, 64, 1), (1, 75, 50, 1), (1, 40, 40, 40, 1)])
def test_white_noise_gives_its_filtered_standard_deviation(shape: tuple[int, ...]) -> None:
    sigma, dims = 7.0, len(shape) - 2
    noise = sigma * jax.random.normal(jax.random.key(0), shape)
    # 1 - h has the energy 1 - 2 h(0) + |h|^2; h is (1 2 1)/4 along each axis.
    expected = sigma * np.sqrt(1 - 2 * 0.5**dims + 0.375**dims)
    level = noise_level(noise)
    assert level.shape == shape
    assert np.mean(level) == pytest.approx(expected, rel=0.05)
    assert np.std(level) < 0.1 * expected


def test_level_follows_the_noise_and_not_the_edges() -> None:
    rows = jnp.arange(128)[:, None]
    sigma = jnp.where(rows < 64, 2.0, 10.0)
    square = jnp.where((rows > 40) & (rows < 90), 500.0, 0.0)
    noisy = square + sigma * jax.random.normal(jax.random.key(1), (128, 128))
    level = noise_level(noisy[None, ..., None])[0, ..., 0]
    assert np.mean(level[:32]) == pytest.approx(0.8 * 2, rel=0.2)
    assert np.mean(level[96:]) == pytest.approx(0.8 * 10, rel=0.2)
    assert np.max(level) < 0.8 * 10 * 1.5


def test_high_pass_removes_planes() -> None:
    y, x = jnp.meshgrid(jnp.arange(20.0), jnp.arange(30.0), indexing="ij")
    plane = (3 * y - 2 * x + 5)[None, ..., None]
    np.testing.assert_allclose(high_pass(plane)[:, 1:-1, 1:-1], 0, atol=1e-4)


def test_images_smaller_than_a_block() -> None:
    image = jax.random.normal(jax.random.key(2), (1, 3, 40, 1))
    assert np.isfinite(noise_level(image)).all()
