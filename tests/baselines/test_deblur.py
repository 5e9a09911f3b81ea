"""Wiener deconvolution against what was blurred."""

import numpy as np
from scipy import ndimage
from skimage import data

from medjax.baselines.filters import named, tune


def error(a, b) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_it_undoes_most_of_a_blur_and_little_noise_hurts_it_little():
    clean = data.camera()[128:256, 128:256].astype(np.float32)
    blurred = ndimage.gaussian_filter(clean, 1.5)
    (wiener,) = named(("Wiener",), (0.0, 255.0))
    sharp = wiener.with_parameters(blur=1.5, balance=1e-3).run(blurred, 0.0)
    assert error(sharp, clean) < 0.6 * error(blurred, clean)
    noisy = blurred + np.random.default_rng(0).normal(0, 4, clean.shape).astype(np.float32)
    tuned = tune(wiener, [(noisy, clean)], 255.0, sigmas=[4.0])
    assert error(tuned.run(noisy, 4.0), clean) < 0.9 * error(noisy, clean)


def test_a_constant_image_comes_back():
    (wiener,) = named(("Wiener",), (0.0, 255.0))
    flat = np.full((30, 41), 90.0, np.float32)
    np.testing.assert_allclose(wiener.run(flat, 1.0), flat, atol=1e-3)
