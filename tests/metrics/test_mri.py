"""Head mask and relative errors on a sphere whose size and brightness are known."""

import numpy as np
import pytest

from medjax.metrics.mri import bright_level, ghost_level, head_mask, relative_mae


def sphere(radius: float = 12, size: int = 40) -> np.ndarray:
    z, y, x = np.mgrid[:size, :size, :size] - (size - 1) / 2
    return (100.0 * (np.sqrt(z**2 + y**2 + x**2) < radius)).astype(np.float32)


def test_bright_level_does_not_depend_on_air() -> None:
    image = sphere()
    assert bright_level(image) == pytest.approx(100)
    assert bright_level(np.pad(image, 20)) == pytest.approx(100)
    assert bright_level(np.zeros((4, 4), np.float32)) == 1


def test_head_mask_fills_sinuses_and_ignores_ghosts_and_specks() -> None:
    image = sphere()
    filled = image > 0
    image[18:22, 18:22, 18:22] = 0
    image[1:3, 1:3, 1:3] = 100
    noise = np.abs(np.random.default_rng(0).normal(0, 3, image.shape)).astype(np.float32)
    mask = head_mask(image + noise)
    assert mask[18:22, 18:22, 18:22].all() and not mask[:4, :4, :4].any()
    # Smoothing takes in what lies within two voxels of the rim.
    assert mask[filled].all() and not mask[sphere(14.5) == 0].any()


def test_errors_are_relative_to_the_mean_in_the_head() -> None:
    image = sphere()
    mask = image > 0
    assert relative_mae(image + 10, image, mask) == pytest.approx(0.1)
    assert relative_mae(np.where(mask, image, 50), image, mask) == 0
    ghost = np.where(mask, image, np.float32(5))
    assert ghost_level(ghost, mask) == pytest.approx(0.05)
    assert ghost_level(image, np.ones_like(mask)) == 0


def test_masks_that_do_not_fit_are_refused() -> None:
    image = sphere()
    with pytest.raises(ValueError, match="empty"):
        relative_mae(image, image, np.zeros(image.shape, bool))
    with pytest.raises(ValueError, match="differ"):
        relative_mae(image, image, np.ones((3, 3), bool))
