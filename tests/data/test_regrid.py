"""Slices on a coarser grid: means over areas, as scikit-image takes them."""

import numpy as np
import pytest
from skimage.transform import downscale_local_mean

from medjax.data.regrid import regrid, square


def test_whole_factors_are_local_means() -> None:
    image = np.random.default_rng(0).normal(size=(3, 24, 24)).astype(np.float32)
    np.testing.assert_allclose(regrid(image, 6), downscale_local_mean(image, (1, 4, 4)), atol=1e-5)
    np.testing.assert_array_equal(regrid(image, 24), image)


@pytest.mark.parametrize("size", [7, 10, 33])
def test_other_factors_keep_the_mean_and_the_place(size: int) -> None:
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1))
    found = regrid(ramp, size)
    np.testing.assert_allclose(found.mean(), ramp.mean(), rtol=1e-5)
    np.testing.assert_allclose(found, found[:, ::-1] * -1 + 1, atol=1e-5)
    assert (np.diff(found[0]) >= -1e-6).all()


def test_oblong_images_are_filled_up_on_both_sides() -> None:
    found = square(np.ones((4, 8), np.float32), -1000.0)
    assert found.shape == (8, 8)
    np.testing.assert_array_equal(found[2:6], 1)
    np.testing.assert_array_equal(found[[0, 1, 6, 7]], -1000)
