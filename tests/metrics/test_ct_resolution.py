import numpy as np
import pytest
from scipy import ndimage, special

from medjax.metrics.ct_resolution import disc_resolution
from medjax.metrics.sharpness import mtf

# MTF50 of a Gaussian blur times its standard deviation.
HALF = np.sqrt(np.log(2) / 2) / np.pi
PIXEL = (0.7, 0.7)
RADIUS = 10.0


def discs(sigma, contrast, repeats=1, noise=0.0, *, centre=(24.13, 24.44), size=70, seed=0):
    """Discs whose border is blurred by sigma mm, in white noise."""
    y, x = (np.arange(size) * s - c for s, c in zip(PIXEL, centre, strict=True))
    inside = RADIUS - np.hypot(y[:, None], x)
    image = 40 + contrast * 0.5 * (1 + special.erf(inside / (np.sqrt(2) * sigma)))
    noises = np.random.default_rng(seed).normal(0, 1, (repeats, size, size)) * noise
    return image + noises


@pytest.mark.parametrize("sigma", [0.45, 0.7, 1.0])
@pytest.mark.parametrize("contrast", [900.0, 50.0, -60.0])
def test_blur_is_measured_whatever_the_contrast(sigma, contrast):
    got = disc_resolution(discs(sigma, contrast), (24.13, 24.44), RADIUS, PIXEL)
    assert got.mtf50 == pytest.approx(HALF / sigma, rel=0.02)
    assert got.contrast_hu == pytest.approx(contrast, rel=0.01)
    assert np.isnan(got.low)


def test_the_whole_transfer_function_of_a_gaussian():
    got = disc_resolution(discs(0.7, 50.0), (24.13, 24.44), RADIUS, PIXEL)
    frequency, modulation = mtf(got.profile)
    low = frequency < 0.6
    expected = np.exp(-2 * (np.pi * 0.7 * frequency[low]) ** 2)
    assert modulation[low] == pytest.approx(expected, abs=0.02)


def test_faint_discs_in_noise_average_out_and_the_interval_holds_the_truth():
    noisy = discs(0.7, 50.0, repeats=150, noise=25.0)
    got = disc_resolution(noisy, (24.13, 24.44), RADIUS, PIXEL, resamples=60)
    assert got.repeats == 150
    assert got.low < HALF / 0.7 < got.high
    assert got.mtf50 == pytest.approx(HALF / 0.7, rel=0.1)
    assert got.cnr == pytest.approx(50 / 25 * np.sqrt(150), rel=0.05)
    few = disc_resolution(noisy[:30], (24.13, 24.44), RADIUS, PIXEL, resamples=60)
    assert few.high - few.low > got.high - got.low


def test_anatomy_goes_with_the_slice_without_the_disc():
    anatomy = ndimage.gaussian_filter(np.random.default_rng(5).normal(0, 900, (70, 70)), 2)
    clean = discs(0.7, 50.0)
    got = disc_resolution(clean + anatomy, (24.13, 24.44), RADIUS, PIXEL, without=anatomy[None])
    assert got.mtf50 == pytest.approx(HALF / 0.7, rel=0.02)
    buried = disc_resolution(clean + anatomy, (24.13, 24.44), RADIUS, PIXEL)
    assert abs(buried.mtf50 / (HALF / 0.7) - 1) > 0.1


def test_discs_in_different_places_are_put_together():
    centres = np.random.default_rng(1).uniform(23, 25, (20, 2))
    images = np.concatenate([discs(0.5, 900.0, centre=tuple(c)) for c in centres])
    got = disc_resolution(images, centres, RADIUS, PIXEL, resamples=0)
    assert got.mtf50 == pytest.approx(HALF / 0.5, rel=0.02)
    wrong = disc_resolution(images, centres[::-1], RADIUS, PIXEL, resamples=0)
    assert wrong.mtf50 < 0.8 * got.mtf50


def test_a_filter_for_noise_keeps_strong_edges_and_blurs_faint_ones():
    """The median of a 5 x 5 window in noise: what this measure is for."""

    def measured(contrast):
        noisy = discs(0.5, contrast, 100, 25.0)
        filtered = np.stack([ndimage.median_filter(image, 5) for image in noisy])
        return disc_resolution(filtered, (24.13, 24.44), RADIUS, PIXEL, resamples=0).mtf50

    assert measured(900.0) > 1.2 * measured(50.0)


def test_a_disc_that_vanished_has_no_resolution():
    got = disc_resolution(np.full((2, 70, 70), 40.0), (24.13, 24.44), RADIUS, PIXEL, resamples=2)
    assert np.isnan(got.mtf50)
    assert got.contrast_hu == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((70, 70))}, "repeat, y, x"),
        ({"without": np.zeros((2, 70, 70))}, "shapes differ"),
        ({"centres_mm": np.zeros((3, 2))}, "centres_mm"),
        ({"radius_mm": 4.0}, "within radius"),
        ({"centres_mm": (5.0, 24.0)}, "leaves the image"),
    ],
)
def test_refusals(change, message):
    arguments = {
        "images": discs(0.7, 50.0),
        "centres_mm": (24.5, 24.5),
        "radius_mm": RADIUS,
        "spacing": PIXEL,
    }
    with pytest.raises(ValueError, match=message):
        disc_resolution(**{**arguments, **change})
