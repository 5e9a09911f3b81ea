import numpy as np
import pytest
from scipy import stats

from medjax.metrics.ct_observer import (
    detectability,
    dog_channels,
    gabor_channels,
    known_detectability,
    regions_at,
    two_alternative_accuracy,
)

SIZE = 32


def blob(height=1.0, sigma=3.0, size=SIZE):
    y, x = np.meshgrid(*[np.arange(size) - size // 2] * 2, indexing="ij")
    return height * np.exp(-(x**2 + y**2) / (2 * sigma**2))


def ct_transfer(size=SIZE):
    """Amplitude of ramp-and-Hann filtered noise, with a little power at frequency 0."""
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size)] * 2, indexing="ij"))
    return np.sqrt(f + 0.02) * np.cos(np.pi * np.minimum(f, 0.5)) ** 2 + 0.02


def coloured(transfer, count, sigma, seed):
    rng = np.random.default_rng(seed)
    white = rng.normal(0, sigma, (count, *transfer.shape))
    return np.fft.ifft2(np.fft.fft2(white) * transfer).real


def covariance(transfer, sigma):
    """Of `coloured`: circulant, its first row the transform of the power."""
    kernel = np.fft.ifft2(np.abs(transfer) ** 2).real * sigma**2
    size = len(transfer)
    y, x = (axis.ravel() for axis in np.indices((size, size)))
    return kernel[(y[:, None] - y) % size, (x[:, None] - x) % size]


def ensembles(transfer, signal, sigma, count, seed=0):
    noise = coloured(transfer, 2 * count, sigma, seed)
    return noise[:count] + signal, noise[count:]


CHANNELS = {"dog": dog_channels(SIZE), "gabor": gabor_channels(SIZE, frequencies=(3 / 64, 3 / 32))}
NOISES = {"white": np.ones((SIZE, SIZE)), "ct": ct_transfer()}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", CHANNELS)
def test_estimates_agree_with_the_analytic_value(noise, kind):
    channels, transfer = CHANNELS[kind], NOISES[noise]
    signal = blob(6.0)
    expected = known_detectability(signal, covariance(transfer, 25.0), channels)
    assert 0.8 < expected < 6
    got = detectability(*ensembles(transfer, signal, 25.0, 1500), channels)
    assert got.low < expected < got.high
    assert got.dprime == pytest.approx(expected, rel=0.08)


def test_a_matched_channel_in_white_noise_is_the_ideal_observer():
    """One channel of the signal's own shape: d' is the signal's length over sigma."""
    signal = blob(6.0)
    channel = (signal / np.linalg.norm(signal))[None]
    expected = np.linalg.norm(signal) / 25.0
    assert known_detectability(signal, 625 * np.eye(SIZE**2), channel) == pytest.approx(expected)
    got = detectability(*ensembles(NOISES["white"], signal, 25.0, 2000), channel)
    assert got.dprime == pytest.approx(expected, rel=0.1)


def test_channels_lose_something_of_the_ideal_observer_but_not_much():
    signal = blob(6.0)
    ideal = np.linalg.norm(signal) / 25.0
    seen = known_detectability(signal, 625 * np.eye(SIZE**2), CHANNELS["dog"])
    assert 0.9 * ideal < seen <= ideal


def test_the_correction_takes_the_bias_out_and_the_interval_covers():
    """Many small studies: the mean of d'² and the share of intervals that hold the truth."""
    channels, transfer, signal = CHANNELS["dog"], NOISES["white"], blob(8.0)
    truth = known_detectability(signal, 625 * np.eye(SIZE**2), channels)
    flat = channels.reshape(len(channels), -1)
    found, plugin = [], []
    for seed in range(200):
        present, absent = ensembles(transfer, signal, 25.0, 30, seed)
        found.append(detectability(present, absent, channels))
        v1, v0 = (r.reshape(30, -1) @ flat.T for r in (present, absent))
        pooled = (np.cov(v1.T) + np.cov(v0.T)) / 2
        step = v1.mean(0) - v0.mean(0)
        plugin.append(step @ np.linalg.solve(pooled, step))
    squares = np.mean([got.dprime**2 for got in found])
    assert squares == pytest.approx(truth**2, rel=0.1)
    assert np.mean(plugin) > 1.3 * truth**2
    inside = sum(got.low <= truth <= got.high for got in found)
    # 95 % of 200 within four standard deviations of a binomial count.
    assert abs(inside - 190) < 4 * np.sqrt(200 * 0.95 * 0.05)


def test_nothing_to_see_is_zero_at_the_lower_end():
    got = detectability(*ensembles(NOISES["ct"], 0.0, 25.0, 60), CHANNELS["dog"])
    assert got.low == 0
    assert got.dprime < 0.8


def test_smoothing_all_alike_gains_nothing():
    """An invertible filter on signal and noise alike: the noise halves, d' stays."""
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(SIZE)] * 2, indexing="ij"))
    soft = np.exp(-((f / 0.2) ** 2)) + 0.02
    signal = blob(6.0)
    smooth = np.fft.ifft2(np.fft.fft2(signal) * soft).real
    noise = covariance(soft, 25.0)
    assert np.sqrt(noise[0, 0]) < 12.5
    before, after = (
        known_detectability(s, k, CHANNELS["dog"])
        for s, k in ((signal, 625 * np.eye(SIZE**2)), (smooth, noise))
    )
    assert after == pytest.approx(before, rel=0.08)


def test_dog_bands_pass_what_they_should():
    channels = dog_channels(65)
    assert channels.shape == (10, 65, 65)
    assert np.linalg.norm(channels, axis=(1, 2)) == pytest.approx(np.ones(10))
    # Blind to brightness, symmetric about the middle, each band finer than the last.
    assert channels.sum(axis=(1, 2)) == pytest.approx(np.zeros(10), abs=1e-9)
    assert channels == pytest.approx(channels[:, ::-1, ::-1], abs=1e-12)
    spectrum = np.abs(np.fft.fft(channels[:, 32, :], 1024))[:, :512]
    assert (np.diff(spectrum.argmax(axis=1)) >= 0).all()


def test_gabor_waves_have_frequency_and_direction():
    channels = gabor_channels(64, frequencies=(1 / 8,), orientations=2, phases=(0.0,))
    spectrum = np.abs(np.fft.fft2(channels))
    peaks = [np.unravel_index(s.argmax(), s.shape) for s in spectrum]
    fold = [tuple(min(i, 64 - i) for i in peak) for peak in peaks]
    assert fold == [(0, 8), (8, 0)]
    # One octave: at 2/3 and 4/3 of the centre the response has fallen to half.
    row = spectrum[0][0, :32] / spectrum[0][0, 8]
    assert np.interp(8 * np.array([2 / 3, 4 / 3]), np.arange(32), row) == pytest.approx(
        [0.5, 0.5], abs=0.06
    )
    assert gabor_channels(64).shape == (40, 64, 64)


def test_regions_around_pixels():
    image = np.arange(400.0).reshape(20, 20)
    regions = regions_at(image, np.array([[10, 10], [8, 12]]), 8)
    assert regions[:, 4, 4].tolist() == [image[10, 10], image[8, 12]]
    with pytest.raises(ValueError, match="leaves the image"):
        regions_at(image, np.array([[3, 10]]), 8)


def test_accuracy_of_two_alternatives():
    assert two_alternative_accuracy(0.0) == 0.5
    assert two_alternative_accuracy(1.0) == pytest.approx(0.7602, abs=1e-4)
    rng = np.random.default_rng(0)
    pairs = rng.normal(2.0, 1, 4000) > rng.normal(0, 1, 4000)
    assert two_alternative_accuracy(2.0) == pytest.approx(pairs.mean(), abs=0.02)


def test_interval_of_one_channel_is_that_of_students_t():
    """With one channel D² is t² times the spread, and scipy knows the noncentral t."""
    rng = np.random.default_rng(3)
    present, absent = rng.normal(1.2, 1, (40, 1, 1)), rng.normal(0, 1, (50, 1, 1))
    got = detectability(present, absent, np.ones((1, 1, 1)))
    t = stats.ttest_ind(present.ravel(), absent.ravel()).statistic
    scale = np.sqrt(1 / 40 + 1 / 50)
    assert 1 - stats.nct.cdf(t, 88, got.low / scale) == pytest.approx(0.025, abs=1e-3)
    assert stats.nct.cdf(t, 88, got.high / scale) == pytest.approx(0.025, abs=1e-3)


def test_a_lesion_that_no_one_misses_has_an_interval_too():
    """The noncentral F distribution far out, where its series is long."""
    got = detectability(*ensembles(NOISES["white"], blob(150.0), 25.0, 400), CHANNELS["dog"])
    truth = known_detectability(blob(150.0), 625 * np.eye(SIZE**2), CHANNELS["dog"])
    assert truth > 25
    assert 0.85 * truth < got.low < truth < got.high < 1.15 * truth


def test_refusals():
    present, absent = ensembles(NOISES["white"], 0.0, 1.0, 5)
    with pytest.raises(ValueError, match="too few for 10 channels"):
        detectability(present, absent, CHANNELS["dog"])
    with pytest.raises(ValueError, match="differ in size"):
        detectability(present, absent, dog_channels(16))
    still = np.zeros((40, SIZE, SIZE))
    with pytest.raises(ValueError, match="linearly dependent or without noise"):
        detectability(still, still, CHANNELS["dog"])
