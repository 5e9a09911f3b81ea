import numpy as np
import pydicom
import pydicom.data
import pytest
from scipy import ndimage
from skimage import restoration

from medjax.baselines.classical import clahe, equalise, estimate_sigma
from medjax.baselines.filters import FILTERS, Baseline, named, tune

NAMES = [
    "histogram equalisation",
    "CLAHE",
    "median 3",
    "median 5",
    "bilateral",
    "TV",
    "NLM",
    "wavelet",
]
DENOISERS = NAMES[2:]


def one(name):
    return named([name])[0]


def body(shape=(64, 64), sigma=20.0, seed=0):
    """A soft-tissue disc (ball) of 50 HU in air, with an organ of 110 HU, and a noisy copy."""
    where = np.indices(shape) - (np.array(shape) / 2).reshape(-1, *[1] * len(shape))
    radius = np.sqrt(np.square(where / (min(shape) / 2)).sum(0))
    clean = np.where(radius < 0.8, 50.0, -1000.0)
    clean[radius < 0.4] = 110.0
    noise = np.random.default_rng(seed).normal(scale=sigma, size=shape)
    return (clean + noise).astype(np.float32), clean.astype(np.float32)


def test_the_filters_come_in_order():
    assert list(FILTERS)[: len(NAMES)] == NAMES
    assert [baseline.name for baseline in named(NAMES)] == NAMES


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_cut_the_error_and_keep_hu(name):
    noisy, clean = body()
    restored = one(name).run(noisy, 20.0)
    assert restored.dtype == np.float32
    assert restored.shape == noisy.shape
    inside = np.s_[26:38, 26:38]
    assert restored[inside].std() < 0.6 * noisy[inside].std()
    assert restored[inside].mean() == pytest.approx(110, abs=6)
    assert restored[:6, :6].mean() == pytest.approx(-1000, abs=10)
    assert np.mean((restored - clean) ** 2) < np.mean((noisy - clean) ** 2) or "median" in name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bilateral"])
def test_volumes_work_where_scikit_image_does(name):
    noisy, _ = body((16, 20, 20))
    restored = one(name).run(noisy, 20.0)
    assert restored.shape == noisy.shape
    assert np.isfinite(restored).all()


@pytest.mark.parametrize("name", NAMES)
def test_constant_images_and_zero_noise_come_back_unharmed(name):
    flat = np.full((32, 32), 40.0, np.float32)
    np.testing.assert_allclose(one(name).run(flat), flat, atol=1e-3)
    np.testing.assert_allclose(one(name).run(flat, 10.0), flat, atol=1e-2)


@pytest.mark.parametrize("name", ["bilateral", "TV", "NLM", "wavelet"])
def test_filters_scale_with_the_unit(name):
    noisy, _ = body()
    small = one(name).run(noisy / 100, 0.2)
    np.testing.assert_allclose(small * 100, one(name).run(noisy, 20.0), atol=1.0)


def test_median_is_the_median():
    noisy, _ = body()
    restored = one("median 3").run(noisy)
    assert restored[20, 30] == np.median(noisy[19:22, 29:32])


def test_nlm_is_scikit_images_on_raw_hu():
    noisy, _ = body()
    expected = restoration.denoise_nl_means(
        noisy, patch_size=5, patch_distance=6, h=16.0, sigma=20.0, preserve_range=True
    )
    np.testing.assert_allclose(one("NLM").run(noisy, 20.0), expected, rtol=1e-5)


def test_air_does_not_count_in_the_equalisation():
    rng = np.random.default_rng(0)
    image = rng.normal(40, 30, size=(64, 64)).astype(np.float32)
    framed = np.pad(image, 64, constant_values=-1000)
    out = equalise(framed, 0.0, low=-160.0, high=240.0)
    np.testing.assert_allclose(
        out[64:-64, 64:-64], equalise(image, 0.0, low=-160.0, high=240.0), atol=5
    )
    assert (out[:64] == -160).all()


def test_equalisation_flattens_the_histogram_within_the_window():
    rng = np.random.default_rng(0)
    image = rng.normal(40, 30, size=(64, 64)).astype(np.float32)
    out = equalise(image, 0.0, low=-160.0, high=240.0)
    counts, _ = np.histogram(out, bins=8, range=(-160, 240))
    assert counts.min() > 0.8 * image.size / 8
    order = np.argsort(image, axis=None)
    assert (np.diff(out.ravel()[order]) >= -1e-3).all()


@pytest.mark.parametrize("name", ["histogram equalisation", "CLAHE"])
def test_contrast_filters_stay_in_the_callers_window(name):
    noisy, _ = body()
    (baseline,) = named([name], window=(-1000.0, 400.0))
    out = baseline.run(noisy)
    assert out.min() >= -1000 - 1e-3
    assert out.max() <= 400 + 1e-3
    assert one(name).run(noisy).min() >= -160 - 1e-3


def test_clahe_with_a_tiny_limit_leaves_hu_nearly_alone_and_never_stretches():
    image = np.linspace(0, 80, 64 * 64, dtype=np.float32).reshape(64, 64)
    out = clahe(image, 0.0, low=-160.0, high=240.0, clip_limit=1e-4, tiles=4)
    assert (out.min(), out.max()) == (pytest.approx(0), pytest.approx(80))
    np.testing.assert_allclose(out, image, atol=3)


@pytest.mark.parametrize("sigma", [5.0, 25.0])
@pytest.mark.parametrize("shape", [(128, 128), (32, 48, 48)])
def test_estimate_sigma_finds_white_noise(sigma, shape):
    rng = np.random.default_rng(0)
    assert estimate_sigma(rng.normal(50, sigma, size=shape)) == pytest.approx(sigma, rel=0.04)


def ct_noise(sigma, shape):
    """Noise after a ramp and a Hann filter, as filtered backprojection leaves it."""
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij"))
    gain = np.sqrt(radius) * np.where(radius < 0.5, np.cos(np.pi * radius) ** 2, 0)
    white = np.random.default_rng(0).normal(size=shape)
    noise = np.fft.ifft2(np.fft.fft2(white) * gain).real
    return sigma * noise / noise.std()


@pytest.mark.parametrize("sigma", [10.0, 40.0])
def test_estimate_sigma_finds_ct_noise_in_a_body_in_air(sigma):
    _, clean = body((256, 256))
    image = clean + ct_noise(sigma, clean.shape)
    assert estimate_sigma(image) == pytest.approx(sigma, rel=0.1)
    assert restoration.estimate_sigma(image) < 0.5 * sigma


def test_estimate_sigma_of_padding_and_of_nothing():
    noise = np.random.default_rng(0).normal(0, 10, size=(128, 128))
    noise[:, 60:] = 0
    assert estimate_sigma(noise) == pytest.approx(10, rel=0.1)
    assert estimate_sigma(np.full((32, 32), 7.0)) == 0


def test_tune_finds_the_best_of_the_grid_on_the_pairs_given():
    noisy, clean = body()
    gaussian = Baseline(
        "gaussian",
        lambda image, sigma, width: ndimage.gaussian_filter(image, width * sigma / 20),
        {"width": 9.0},
        {"width": (0.1, 0.5, 1.0, 3.0)},
    )
    errors = {
        w: np.mean((ndimage.gaussian_filter(noisy, w) - clean) ** 2) for w in (0.1, 0.5, 1.0, 3.0)
    }
    best = tune(gaussian, [(noisy, clean)], 400.0, sigmas=[20.0])
    assert best.parameters == {"width": min(errors, key=errors.get)}
    assert gaussian.parameters == {"width": 9.0}


def test_tune_judges_in_the_window():
    clean = np.full((32, 32), 50.0, np.float32)
    clean[:16] = -1000
    shifts = Baseline(
        "shift",
        lambda image, sigma, where: image + np.where(image < -500, *where).astype(np.float32),
        {"where": (0, 0)},
        {"where": ((0, 10), (300, 0))},
    )
    pairs = [(clean, clean)]
    assert tune(shifts, pairs, 400.0).parameters["where"] == (0, 10)
    windowed = tune(shifts, pairs, 400.0, window=(-160.0, 240.0))
    assert windowed.parameters["where"] == (300, 0)


def test_tuned_nlm_and_tv_beat_their_defaults_on_the_tuning_pairs():
    noisy, clean = body(sigma=30.0)
    for name in ("TV", "wavelet"):
        plain = one(name)
        best = tune(plain, [(noisy, clean)], 400.0, sigmas=[30.0])
        errors = [np.mean((b.run(noisy, 30.0) - clean) ** 2) for b in (best, plain)]
        assert errors[0] <= errors[1]


def test_errors():
    noisy, clean = body()
    with pytest.raises(ValueError, match="space axes"):
        one("bilateral").run(noisy[None])
    with pytest.raises(ValueError, match="NaN"):
        one("TV").run(np.full((16, 16), np.nan))
    with pytest.raises(ValueError, match="sigma"):
        one("TV").run(noisy, -1.0)
    with pytest.raises(ValueError, match="pair"):
        tune(one("TV"), [], 400.0)
    with pytest.raises(ValueError, match="sigmas"):
        tune(one("TV"), [(noisy, clean)], 400.0, sigmas=[1.0, 2.0])
    with pytest.raises(ValueError, match="rise"):
        named(NAMES, window=(240.0, -160.0))


def test_order_on_a_patients_slice():
    """Clean CT plus known noise: what is known of these filters must show."""
    path = pydicom.data.get_testdata_file("693_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    header = pydicom.dcmread(path)
    clean = header.pixel_array[128:320, 128:320] * header.RescaleSlope + header.RescaleIntercept
    clean = np.clip(clean, -1024, 3000).astype(np.float32)
    noisy = clean + ct_noise(20.0, clean.shape).astype(np.float32)
    window = (-160.0, 240.0)

    def error(image):
        return float(np.square(np.clip(image, *window) - np.clip(clean, *window)).mean())

    assert estimate_sigma(noisy) == pytest.approx(np.hypot(20, estimate_sigma(clean)), rel=0.1)
    before = error(noisy)
    for name in ("median 3", "TV", "NLM", "wavelet"):
        assert error(one(name).run(noisy, 20.0)) < before
    assert error(one("NLM").run(noisy, 20.0)) < error(one("median 5").run(noisy, 20.0))
    assert error(one("histogram equalisation").run(noisy)) > before
