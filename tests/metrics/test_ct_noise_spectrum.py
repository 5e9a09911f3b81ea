import numpy as np
import pytest
from scipy import signal

from medjax.metrics.ct_noise_spectrum import (
    NoiseSpectrum,
    difference_noise,
    mean_frequency,
    noise_power_spectrum,
    peak_frequency,
    radial_average,
    regions_of_interest,
    spectrum_distance,
)

PIXEL = (0.7, 0.5)


def white(sigma=20.0, regions=200, size=32, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, (regions, size, size))


def filtered(transfer, regions=300, size=64, seed=0, sigma=1.0):
    """White noise of standard deviation sigma through `transfer(cycles/pixel)`."""
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size)] * 2, indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(white(sigma, regions, size, seed)) * transfer(f)).real


def ramp_hann(f):
    return np.where(f < 0.5, np.sqrt(f) * np.cos(np.pi * f) ** 2, 0)


def test_white_noise_has_variance_times_pixel_area_everywhere():
    spectrum = noise_power_spectrum(white(), PIXEL, detrend=False)
    assert spectrum.variance == pytest.approx(400, rel=0.02)
    frequency, power = radial_average(spectrum)
    assert power[2:] == pytest.approx(np.full(len(power) - 2, 400 * 0.7 * 0.5), rel=0.1)
    assert frequency[0] == 0
    # The last ring reaches up to the Nyquist frequency of the coarser axis.
    assert 0.5 / 0.7 - 1 / (32 * 0.5) < frequency[-1] <= 0.5 / 0.7


def test_shaped_noise_has_the_spectrum_it_was_made_with():
    spectrum = noise_power_spectrum(filtered(ramp_hann, sigma=30.0), (0.8, 0.8), detrend=False)
    expected = 900 * 0.64 * ramp_hann(spectrum.radius * 0.8) ** 2
    strong = expected > 0.2 * expected.max()
    assert spectrum.power[strong] == pytest.approx(expected[strong], rel=0.35)
    assert spectrum.power[strong].mean() == pytest.approx(expected[strong].mean(), rel=0.01)
    known = NoiseSpectrum(spectrum.frequency_y, spectrum.frequency_x, expected, 1)
    assert mean_frequency(spectrum) == pytest.approx(mean_frequency(known), rel=0.01)
    # f cos⁴(πf) is greatest where 4πf tan(πf) = 1: 0.1565 cycles/pixel.
    f = np.linspace(0.01, 0.49, 10001)
    peak = f[np.argmax(f * np.cos(np.pi * f) ** 4)] / 0.8
    assert peak_frequency(spectrum) == pytest.approx(peak, abs=2 / (64 * 0.8))


def test_equals_scipys_periodogram():
    region = white(regions=1)[0]
    spectrum = noise_power_spectrum(region[None], PIXEL, detrend=False)
    # Parseval along one axis: the 2-D spectrum summed over y is the mean of the rows' spectra.
    _, rows = signal.periodogram(
        region - region.mean(), fs=1 / PIXEL[1], detrend=False, return_onesided=False, axis=1
    )
    step = spectrum.frequency_y[1] - spectrum.frequency_y[0]
    assert spectrum.power.sum(axis=0) * step == pytest.approx(np.fft.fftshift(rows.mean(axis=0)))


def test_a_shaded_background_goes_with_the_surface():
    y, x = np.meshgrid(*[np.linspace(-1, 1, 32)] * 2, indexing="ij")
    shaded = white() + 300 * y + 200 * x * y - 100 * x**2 + 40
    plain = noise_power_spectrum(white(), PIXEL)
    got = noise_power_spectrum(shaded, PIXEL)
    assert got.power == pytest.approx(plain.power)
    assert plain.variance == pytest.approx(400 * (1 - 6 / 1024), rel=0.02)


def test_the_difference_of_two_realisations_frees_noise_from_anatomy():
    anatomy = np.random.default_rng(9).uniform(-100, 100, (32, 32)).cumsum(0)
    noise = difference_noise(anatomy + white(), anatomy + white(seed=1))
    assert noise_power_spectrum(noise, PIXEL, detrend=False).variance == pytest.approx(
        400, rel=0.02
    )
    with pytest.raises(ValueError, match="shapes differ"):
        difference_noise(anatomy, anatomy[1:])


def test_distance_is_zero_for_equal_texture_and_two_for_nothing_in_common():
    def noise(transfer, seed, sigma=1.0):
        return noise_power_spectrum(
            filtered(transfer, seed=seed, sigma=sigma), (0.8, 0.8), detrend=False
        )

    one = noise(ramp_hann, 0)
    assert spectrum_distance(one, one) == 0
    assert spectrum_distance(noise(ramp_hann, 1, 3.0), one) < 0.05
    assert spectrum_distance(noise(ramp_hann, 0, 0.5), one, texture=False) == pytest.approx(0.75)
    low = noise(lambda f: f < 0.2, 2)
    high = noise(lambda f: f > 0.25, 3)
    assert spectrum_distance(low, high) == pytest.approx(2)


def test_distance_between_two_known_textures():
    """Flat up to 0.2 against flat up to 0.4 cycles/pixel: 3/4 of the power lies elsewhere."""
    narrow, wide = (
        noise_power_spectrum(
            filtered(lambda f, top=top: f < top, 40, 192, i), (0.8, 0.8), detrend=False
        )
        for i, top in enumerate((0.2, 0.4))
    )
    assert spectrum_distance(narrow, wide) == pytest.approx(1.5, rel=0.03)
    assert mean_frequency(narrow) == pytest.approx(2 / 3 * 0.2 / 0.8, rel=0.02)


def test_smoothing_moves_noise_to_low_frequencies():
    noise = filtered(ramp_hann)
    smooth = filtered(lambda f: ramp_hann(f) * np.exp(-((f / 0.15) ** 2)))
    sharp, blotchy = (noise_power_spectrum(n, (0.8, 0.8)) for n in (noise, smooth))
    assert mean_frequency(blotchy) < 0.8 * mean_frequency(sharp)
    assert spectrum_distance(blotchy, sharp) > 0.3


def test_regions_lie_in_the_mask():
    image = np.arange(2 * 80 * 90, dtype=float).reshape(2, 80, 90)
    mask = np.zeros(image.shape, bool)
    mask[1, 16:64, 8:72] = True
    regions = regions_of_interest(image, mask, 32)
    assert regions.shape == (2 * 2, 32, 32)
    assert np.isin(regions, image[mask]).all()
    assert len(regions_of_interest(image, mask, 32, filled=0.5)) > 4
    assert regions_of_interest(image, np.zeros_like(mask), 32).shape == (0, 32, 32)


def test_refusals():
    with pytest.raises(ValueError, match="at least one region"):
        noise_power_spectrum(np.zeros((0, 32, 32)), PIXEL)
    with pytest.raises(ValueError, match="spacing"):
        noise_power_spectrum(white(), (0.0, 1.0))
    with pytest.raises(ValueError, match="too small"):
        regions_of_interest(np.zeros((64, 64)), np.ones((64, 64), bool), 4)
    with pytest.raises(ValueError, match="its mask"):
        regions_of_interest(np.zeros((64, 64)), np.ones((64, 63), bool))
    with pytest.raises(ValueError, match="do not compare"):
        spectrum_distance(
            noise_power_spectrum(white(), PIXEL), noise_power_spectrum(white(size=16), PIXEL)
        )


def test_no_noise_is_nan():
    silent = noise_power_spectrum(np.zeros((2, 32, 32)), PIXEL)
    loud = noise_power_spectrum(white(), PIXEL)
    assert np.isnan(mean_frequency(silent))
    assert np.isnan(spectrum_distance(silent, loud))
    assert np.isnan(spectrum_distance(loud, silent, texture=False))
    assert spectrum_distance(silent, loud, texture=False) == pytest.approx(1)
