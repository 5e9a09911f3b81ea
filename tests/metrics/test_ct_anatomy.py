"""The CT metrics on patients: one raw scan reconstructed with a soft and with a sharp kernel."""

import nibabel
import numpy as np
import pytest

from medjax.metrics.ct import edge_width_mm, flat_tissue_mask, noise_hu
from medjax.metrics.sharpness import edge_profile, mtf50, rise_width_mm

SPACING = (5.0, 0.8417969, 0.8417969)


@pytest.fixture(scope="module")
def kernels(medjax_data):
    """One slice of the same scan, soft (B) and sharp (L)."""
    folder = medjax_data / "ct_chest_kernel_pairs"
    volumes = {}
    for kernel in "BL":
        image = nibabel.load(folder / f"Lung_Dx-A0001_{kernel}.nii.gz")
        slices = np.asarray(image.dataobj[..., 12:13], np.float32).T
        volumes[kernel] = np.clip(slices, -1024, 3000)
    return volumes


def test_the_soft_kernel_is_less_noisy_and_less_sharp(kernels):
    soft, sharp = kernels["B"], kernels["L"]
    for guide in (soft, sharp):
        mask = flat_tissue_mask(guide)
        assert mask.any()
        assert noise_hu(sharp, mask) > 3 * noise_hu(soft, mask)
        blurred, crisp = (edge_profile(image, guide, SPACING) for image in (soft, sharp))
        assert blurred.edges == crisp.edges > 200
        assert rise_width_mm(blurred) > 1.5 * rise_width_mm(crisp)
        assert mtf50(crisp) > 1.5 * mtf50(blurred)


def test_noise_added_to_a_patient_is_found_and_leaves_the_edges(kernels):
    soft = kernels["B"]
    noisy = soft + np.random.default_rng(0).normal(scale=25, size=soft.shape)
    mask = flat_tissue_mask(soft)
    expected = np.hypot(noise_hu(soft, mask), 25)
    assert noise_hu(noisy, mask) == pytest.approx(expected, rel=0.06)
    before, after = (edge_width_mm(image, soft, SPACING).width_mm for image in (soft, noisy))
    assert after == pytest.approx(before, rel=0.03)
