import numpy as np
import pytest
from scipy.special import erf

from medjax.metrics.edges import EdgeSearch, find_edges
from medjax.metrics.sharpness import (
    EdgeProfile,
    edge_profile,
    edge_width_mm,
    mtf,
    mtf50,
    rise_width_mm,
)

# A Gaussian blur of standard deviation 1: 10-90 % rise and half-modulation frequency.
RISE = 2 * 1.2815515655446004
HALF = np.sqrt(np.log(2) / 2) / np.pi


def rise(distance, sigma):
    return 0.5 * (1 + erf(distance / (np.sqrt(2) * sigma)))


def grid(shape, spacing):
    axes = [(np.arange(n) - (n - 1) / 2 - 0.3) * s for n, s in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def disc(sigma, *, noise=0.0, seed=0, spacing=(0.7, 0.7), shape=(160, 160), radius=35.0):
    """50 HU in air, its border blurred by sigma mm."""
    y, x = grid(shape, spacing)
    image = -1000 + 1050 * rise(radius - np.hypot(y, x), sigma)
    return image + np.random.default_rng(seed).normal(scale=noise, size=shape) * (noise > 0)


def straight(sigma, degrees, *, noise=0.0, seed=0):
    y, x = grid((96, 96), (0.7, 0.7))
    angle = np.deg2rad(degrees)
    image = 300 * rise(np.cos(angle) * x + np.sin(angle) * y, sigma)
    return image + np.random.default_rng(seed).normal(scale=noise, size=image.shape) * (noise > 0)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.2])
@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_disc_of_known_blur(sigma, noise):
    reference = disc(0.6, noise=noise / 2, seed=1)
    profile = edge_profile(disc(sigma, noise=noise), reference, (0.7, 0.7))
    assert profile.edges > 200
    assert rise_width_mm(profile) == pytest.approx(RISE * sigma, rel=0.03)
    assert mtf50(profile) == pytest.approx(HALF / sigma, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 10, 45, 80, 200])
@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.01), (20.0, 0.05)])
def test_straight_edge_at_any_angle(degrees, noise, tolerance):
    reference = straight(0.7, degrees, noise=noise / 2, seed=1)
    width = edge_width_mm(straight(0.8, degrees, noise=noise), reference, (0.7, 0.7))
    assert width.edges > 50
    assert width.width_mm == pytest.approx(RISE * 0.8, rel=tolerance)


def test_pixels_that_are_not_square():
    spacing, shape = (0.5, 0.9), (230, 128)
    image = disc(0.9, spacing=spacing, shape=shape)
    assert edge_width_mm(image, image, spacing).width_mm == pytest.approx(RISE * 0.9, rel=0.02)


def test_volume_is_its_slices_pooled():
    slices = [disc(0.8, radius=radius) for radius in (30.0, 35.0)]
    widths = [edge_width_mm(image, image, (0.7, 0.7)) for image in slices]
    pooled = edge_width_mm(np.stack(slices), np.stack(slices), (3.0, 0.7, 0.7))
    assert pooled.edges == sum(width.edges for width in widths)
    assert pooled.width_mm == pytest.approx(RISE * 0.8, rel=0.02)


def test_same_edges_whatever_the_restored_image():
    reference = disc(0.6, noise=10.0)
    edges = find_edges(reference, (0.7, 0.7))
    blurred = edge_width_mm(disc(3.0), reference, (0.7, 0.7))
    assert blurred.edges == len(edges.low)
    distance = np.hypot(*(edges.centre_mm - (159 / 2 + 0.3) * 0.7).T)
    np.testing.assert_allclose(distance, 35.0, atol=0.1)
    outwards = edges.centre_mm - (159 / 2 + 0.3) * 0.7
    cosine = (outwards * edges.normal).sum(axis=1) / distance
    assert cosine.max() < -0.98
    np.testing.assert_allclose(edges.high - edges.low, 1050, rtol=0.02)


def test_lost_contrast_does_not_read_as_blur():
    image = disc(0.8)
    width = edge_width_mm(0.5 * image, image, (0.7, 0.7)).width_mm
    assert width == pytest.approx(RISE * 0.8, rel=0.02)


def test_thin_lines_and_double_edges_are_left_out():
    _, x = grid((96, 96), (0.7, 0.7))
    ribs = 500.0 * (np.abs(x % 8 - 4) < 1)
    steps = 300 * rise(x, 0.6) + 300 * rise(x - 3, 0.6)
    for image in (ribs, steps):
        assert len(find_edges(image, (0.7, 0.7)).low) == 0


def test_no_edges_is_nan_not_an_error():
    flat = np.full((64, 64), 40.0)
    width = edge_width_mm(flat, flat, (0.7, 0.7))
    assert width.edges == 0
    assert np.isnan(width.width_mm)
    profile = edge_profile(flat, flat, (0.7, 0.7))
    assert np.isnan(mtf50(profile))


def test_search_bounds_the_number_of_edges():
    image = disc(0.8)
    assert edge_width_mm(image, image, (0.7, 0.7), EdgeSearch(most=25)).edges == 25
    assert edge_width_mm(image, image, (0.7, 0.7), EdgeSearch(smallest_hu=2000)).edges == 0


def analytic(sigma, noise=0.0):
    distance = EdgeSearch().distance_mm
    wobble = np.random.default_rng(0).normal(scale=noise, size=distance.shape)
    return EdgeProfile(distance, rise(distance, sigma) + wobble * (noise > 0), 100)


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0])
def test_mtf_of_a_gaussian_edge_is_gaussian(sigma):
    frequency, modulation = mtf(analytic(sigma))
    expected = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    np.testing.assert_allclose(modulation, expected, atol=0.01)
    assert mtf50(analytic(sigma)) == pytest.approx(HALF / sigma, rel=0.01)


def test_width_of_a_noisy_profile():
    assert rise_width_mm(analytic(0.8)) == pytest.approx(RISE * 0.8, rel=2e-3)
    assert rise_width_mm(analytic(0.8, 0.01)) == pytest.approx(RISE * 0.8, rel=0.06)


def test_mtf_of_a_sharpened_edge_exceeds_one():
    plain = analytic(0.6)
    sharp = plain.value + 1.5 * (plain.value - rise(plain.distance_mm, 1.2))
    frequency, modulation = mtf(plain._replace(value=sharp))
    once, twice = (np.exp(-2 * (np.pi * s * frequency) ** 2) for s in (0.6, 1.2))
    np.testing.assert_allclose(modulation, 2.5 * once - 1.5 * twice, atol=0.02)
    assert modulation.max() > 1.2


def test_errors():
    image = disc(0.8)
    with pytest.raises(ValueError, match="shapes differ"):
        edge_width_mm(image, image[1:], (0.7, 0.7))
    with pytest.raises(ValueError, match="spacing"):
        edge_width_mm(image, image, (3.0, 0.7, 0.7))
