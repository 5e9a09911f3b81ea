import numpy as np
import pytest
from scipy import ndimage

from medjax.metrics.ct import edge_width_mm, flat_tissue_mask, noise_hu, rmse_hu


def anatomy(shape=(160, 160)):
    """Air, a body of 50 HU shaded by 10 HU, an organ of 110, a bone and a fat pad."""
    y, x = (axis / n - 0.5 for axis, n in zip(np.indices(shape), shape, strict=True))
    image = np.full(shape, -1000.0)
    body = np.hypot(y, x) < 0.45
    image[body] = (50 + 20 * x)[body]
    image[np.hypot(y - 0.1, x + 0.15) < 0.14] = 110
    image[np.hypot(y + 0.25, x) < 0.06] = 900
    image[np.hypot(y + 0.1, x - 0.25) < 0.08] = -100
    return image


def white(sigma, shape=(160, 160), seed=0):
    return np.random.default_rng(seed).normal(scale=sigma, size=shape)


def test_rmse_in_a_window_and_over_all_hu():
    reference = np.array([[0.0, 50.0], [1000.0, -1000.0]])
    restored = reference + np.array([[3.0, 4.0], [500.0, -24.0]])
    assert rmse_hu(restored, reference) == pytest.approx(np.sqrt((9 + 16 + 250000 + 576) / 4))
    assert rmse_hu(restored, reference, (-160, 240)) == pytest.approx(2.5)


def test_mask_holds_flat_soft_tissue_only():
    clean = anatomy()
    for reference in (clean, clean + white(15)):
        mask = flat_tissue_mask(reference)
        assert mask.dtype == bool
        assert 0.15 < mask.mean() < 0.6
        assert clean[mask].min() >= 30
        assert clean[mask].max() <= 110
        # Nothing within two pixels of an edge.
        spread = ndimage.maximum_filter(clean, 5) - ndimage.minimum_filter(clean, 5)
        assert spread[mask].max() < 10


@pytest.mark.parametrize("sigma", [0.0, 5.0, 25.0])
@pytest.mark.parametrize("shape", [(160, 160), (3, 160, 160)])
def test_white_noise_is_measured_over_shaded_anatomy(sigma, shape):
    clean = np.broadcast_to(anatomy(), shape)
    mask = flat_tissue_mask(clean + white(10, shape, seed=1))
    got = noise_hu(clean + white(sigma, shape), mask)
    assert got == pytest.approx(sigma, rel=0.03, abs=1e-6)


def test_ct_like_noise_that_is_finer_than_a_tile():
    """Ramp-and-Hann filtered noise: no power at frequency 0, as filtered backprojection gives."""
    shape = (256, 256)
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij"))
    gain = np.sqrt(radius) * np.where(radius < 0.5, np.cos(np.pi * radius) ** 2, 0)
    noise = np.fft.ifft2(np.fft.fft2(white(1.0, shape)) * gain).real
    noise *= 20 / noise.std()
    clean = anatomy(shape)
    got = noise_hu(clean + noise, flat_tissue_mask(clean))
    assert got == pytest.approx(20, rel=0.05)


def test_not_fooled_by_structure_that_slips_into_the_mask():
    image = anatomy() + white(10)
    mask = flat_tissue_mask(anatomy())
    vessels = image.copy()
    vessels[60:64] += 150
    assert noise_hu(vessels, mask) == pytest.approx(noise_hu(image, mask), rel=0.15)
    assert vessels[mask].std() > 1.5 * image[mask].std()


def test_blurring_lowers_noise_and_the_edges_tell():
    clean = ndimage.gaussian_filter(anatomy(), 0.8)
    noisy = clean + white(20)
    blurred = ndimage.gaussian_filter(noisy, 1.5)
    mask = flat_tissue_mask(clean)
    assert noise_hu(blurred, mask) < 0.4 * noise_hu(noisy, mask)
    before = edge_width_mm(noisy, clean, (0.8, 0.8))
    after = edge_width_mm(blurred, clean, (0.8, 0.8))
    assert before.edges == after.edges > 50
    assert after.width_mm > 1.5 * before.width_mm


def test_no_flat_tissue_is_nan():
    air = np.full((64, 64), -1000.0)
    mask = flat_tissue_mask(air)
    assert not mask.any()
    assert np.isnan(noise_hu(air, mask))


def test_errors():
    image = anatomy()
    with pytest.raises(ValueError, match="shapes differ"):
        rmse_hu(image, image[1:])
    with pytest.raises(ValueError, match="rise"):
        rmse_hu(image, image, (240, -160))
    with pytest.raises(ValueError, match="shapes differ"):
        noise_hu(image, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="slice"):
        flat_tissue_mask(image[None, ..., None])
