"""Field of view and vessel contrast on drawn retinas and, where there are any, on real ones."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.io import read_scan
from medjax.metrics.fundus import field_of_view, vessel_contrast, vessels


def retina(side: int = 160, contrast: float = 0.3):
    """(image, disc, vessels): a bright disc with dark lines 5 pixels wide."""
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(y - side / 2, x - side / 2) < 0.45 * side
    lines = disc & ((np.abs(x - 60) < 3) | (np.abs(y - 90) < 3))
    image = np.where(disc, 120.0, 4.0)
    return np.where(lines, image * (1 - contrast), image), disc, lines


def test_the_field_of_view_is_the_disc_without_its_rim():
    image, disc, _ = retina()
    inside = field_of_view(image)
    assert not (inside & ~disc).any()
    assert inside.sum() > 0.8 * disc.sum()


def test_an_image_without_black_is_all_field_of_view():
    assert field_of_view(np.full((40, 40), 90.0)).all()


@pytest.mark.parametrize("contrast", [0.1, 0.3])
def test_contrast_is_what_was_drawn_whatever_the_light(contrast):
    image, disc, lines = retina(contrast=contrast)
    light = np.exp(0.3 * np.sin(np.mgrid[:160, :160][0] / 60))
    for shown in (image, 1.7 * image, light * image):
        assert vessel_contrast(shown, lines, disc) == pytest.approx(contrast, abs=0.012)


def test_blur_lowers_it_and_noise_does_not():
    image, disc, lines = retina()
    sharp = vessel_contrast(image, lines, disc)
    assert vessel_contrast(ndimage.gaussian_filter(image, 3), lines, disc) < 0.8 * sharp
    noisy = image + np.random.default_rng(0).normal(0, 10, image.shape)
    assert vessel_contrast(noisy, lines, disc) == pytest.approx(sharp, abs=0.01)


def test_drawn_vessels_are_found():
    image, _, lines = retina()
    found = vessels(
        image + np.random.default_rng(0).normal(0, 2, image.shape), field_of_view(image)
    )
    assert (found & lines).sum() > 0.8 * found.sum()


def test_without_vessels_there_is_no_contrast():
    flat = np.full((40, 40), 90.0)
    nothing = np.zeros((40, 40), bool)
    assert np.isnan(vessel_contrast(flat, nothing, ~nothing))


def test_on_real_photographs_they_agree_with_the_manual_masks(medjax_data):
    folder = medjax_data / "fundus_drive" / "test"
    if not folder.is_dir():
        pytest.skip("no fundus_drive in MEDJAX_DATA")
    image, mask, manual = (
        read_scan(folder / part / "01.png").array for part in ("images", "fov", "vessel")
    )
    mask, manual = ((m if m.ndim == 2 else m[..., 0]) > 0 for m in (mask, manual))
    inside = field_of_view(image[..., 1])
    assert (inside & ~mask).sum() < 0.005 * mask.sum()
    assert inside.sum() > 0.9 * mask.sum()
    found = vessels(image[..., 1], inside)
    assert (found & manual).sum() > 0.6 * found.sum()
