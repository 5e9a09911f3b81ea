"""Filtered backprojection against scikit-image and against the object itself."""

import numpy as np
import pytest
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize

from medjax.physics.ct import FanBeam, ParallelBeam, fbp, project


def phantom(n):
    return resize(shepp_logan_phantom(), (n, n), anti_aliasing=True).astype(np.float32)


def circle(n, margin=4):
    k = np.arange(n) - (n - 1) / 2
    return np.hypot(k, k[:, None]) < n / 2 - margin


@pytest.mark.parametrize("filter", ["ramp", "shepp-logan", "hann"])
def test_fbp_agrees_with_scikit_image(filter):
    n, views = 129, 160
    image = phantom(n) * circle(n)
    sinogram = radon(image, np.arange(views) * 180 / views, circle=True)
    theirs = iradon(sinogram, np.arange(views) * 180 / views, filter_name=filter, circle=True)
    # scikit-image turns the other way; at an odd size both have the axis on the same pixel.
    geometry = ParallelBeam(n, 1.0, views, n, 1.0)
    flipped = np.roll(sinogram[::-1, ::-1], 1, axis=1)
    flipped[:, 0] = sinogram[:, 0]
    ours = fbp(geometry, flipped.T[None, ..., None].astype(np.float32), filter)[0, ..., 0]
    inside = circle(n)
    np.testing.assert_allclose(np.asarray(ours)[inside], theirs[inside], atol=2e-3)


def test_project_agrees_with_scikit_image():
    n, views = 129, 24
    image = phantom(n) * circle(n)
    theirs = radon(image, -np.arange(views) * 180 / views, circle=True).T
    ours = project(ParallelBeam(n, 1.0, views, n, 1.0), image[None, ..., None])[0, ..., 0]
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.01 * theirs.max()


@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize("detectors_a_pixel", [1.0, 1.6])
def test_reconstruction_returns_the_attenuation_in_per_mm(kind, detectors_a_pixel):
    n, pixel = 96, 0.8
    k = (np.arange(n) - (n - 1) / 2) * pixel
    image = 0.02 * (np.hypot(k / 30, k[:, None] / 24) < 1) + 0.01 * (
        np.hypot(k - 9, k[:, None]) < 8
    )
    detectors = int(150 * detectors_a_pixel)
    spacing = pixel / detectors_a_pixel
    geometry = (
        ParallelBeam(n, pixel, 150, detectors, spacing)
        if kind == "parallel"
        else FanBeam(n, pixel, 300, detectors, spacing, 200.0)
    )
    sinogram = project(geometry, image[None, ..., None].astype(np.float32))
    result = np.asarray(fbp(geometry, sinogram))[0, ..., 0]
    assert result[np.hypot(k - 9, k[:, None]) < 5].mean() == pytest.approx(0.03, rel=0.003)
    flat = np.hypot(k + 12, k[:, None]) < 8
    assert result[flat].mean() == pytest.approx(0.02, rel=0.003)
    assert result[flat].std() < 0.01 * 0.02


def test_unknown_filter_and_cutoff_are_refused():
    geometry = ParallelBeam.for_image(16, 1.0, views=4)
    sinogram = np.zeros((1, 4, geometry.detectors, 1), np.float32)
    with pytest.raises(ValueError, match="unknown filter 'hamming'; there are ramp"):
        fbp(geometry, sinogram, "hamming")  # pyright: ignore
    with pytest.raises(ValueError, match="cutoff"):
        fbp(geometry, sinogram, cutoff=1.5)
