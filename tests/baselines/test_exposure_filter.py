"""Automatic gamma correction."""

import numpy as np
import pytest
from skimage import exposure

from medjax.baselines.exposure import auto_gamma


def dark() -> np.ndarray:
    return np.random.default_rng(0).beta(1, 4, (64, 64)).astype(np.float32)


@pytest.mark.parametrize("target", [0.3, 0.5, 0.8])
def test_mean_grey_becomes_the_target(target) -> None:
    out = auto_gamma(200 * dark() - 50, 0.0, low=-50, high=150, target=target)
    assert (out.mean() + 50) / 200 == pytest.approx(target, abs=1e-4)


def test_it_is_a_power() -> None:
    image = dark()
    out = auto_gamma(image, 0.0, low=0, high=1, target=0.5)
    power = np.log(out[3, 5]) / np.log(image[3, 5])
    np.testing.assert_allclose(out, exposure.adjust_gamma(image, power), atol=1e-5)


def test_black_and_white_images_come_back() -> None:
    for value in (-1.0, 2.0):
        out = auto_gamma(np.full((4, 4), value, np.float32), 0.0, low=0, high=1, target=0.5)
        np.testing.assert_array_equal(out, np.clip(value, 0, 1))
