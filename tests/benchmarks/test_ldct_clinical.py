"""The measures on the virtual scanner and on a real chest scan: they must tell doses apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.ldct.blobs import BlobSearch
from benchmarks.ldct.detector import TrainingSlice, detect, train
from medjax.io import read_scan
from medjax.metrics.ct import flat_tissue_mask
from medjax.metrics.ct_noise_spectrum import (
    difference_noise,
    mean_frequency,
    noise_power_spectrum,
    regions_of_interest,
    spectrum_distance,
)
from medjax.metrics.ct_observer import detectability, dog_channels, regions_at
from medjax.metrics.ct_resolution import HIGH_CONTRAST_HU, LOW_CONTRAST_HU, disc_resolution
from medjax.metrics.detection import Lesions, froc, operating_point, sensitivity_at, threshold_at
from medjax.physics.ct import DoseModel, ParallelBeam, simulate_low_dose
from medjax.physics.lesion_sites import lung_mask, random_nodules, random_sites
from medjax.physics.lesions import Lesion, insert

# One lung and the heart of a chest scan: a fifth of the pixels, and photons to suit its thickness.
CROP = (slice(130, 338), slice(270, 478))
MODEL = DoseModel(photons=6e4, bowtie=None)


@functools.lru_cache
def scanner(size, pixel_mm, views=180):
    geometry = ParallelBeam.for_image(size, pixel_mm, views)

    def scan(key, hu, dose):
        return simulate_low_dose(key, hu, geometry, dose, MODEL, sampler="gaussian")

    return jax.jit(scan)


def scanned(stack, pixel_mm, dose, seed):
    """Slices [slice, y, x] in HU at a dose, each with noise of its own."""
    scan, slices = scanner(stack.shape[-1], pixel_mm), jnp.asarray(stack[..., None], jnp.float32)
    # Four at a time, so that all stacks share one compiled program.
    keys = jax.random.split(jax.random.key(seed), len(stack) // 4)
    parts = [scan(key, slices[4 * i : 4 * i + 4], dose).low for i, key in enumerate(keys)]
    return np.concatenate(parts)[..., 0]


@pytest.fixture(scope="module")
def chest(medjax_data):
    """Slices of the soft kernel, with their lungs, cropped; spacing."""
    scan = read_scan(medjax_data / "ct_chest_kernel_pairs" / "Lung_Dx-A0001_B.nii.gz", "CT")
    volume, spacing = scan.array[::3], scan.spacing
    assert spacing is not None
    lungs = lung_mask(volume, spacing)
    return volume[:, *CROP], lungs[:, *CROP], spacing


@pytest.mark.parametrize("contrast", [LOW_CONTRAST_HU, HIGH_CONTRAST_HU])
def test_an_inserted_rod_shows_the_virtual_scanners_own_sharpness(contrast):
    """Against the product of all that blurs on the way, averaged over directions."""
    size, pixel = 96, 0.8
    centre = (38.3, 38.6)
    rod = Lesion((0.0, *centre), 20.0, contrast, "rod")
    image = insert(np.full((1, size, size), 0.0), [rod], (5.0, pixel, pixel), None)
    scan = scanner(size, pixel, 240)(jax.random.key(0), jnp.asarray(image[..., None]), 1.0)
    got = disc_resolution(np.asarray(scan.full)[..., 0], centre, 10.0, (pixel, pixel))
    f = np.linspace(0, 0.5, 501)[:, None]
    turn = np.linspace(0, np.pi / 4, 90)
    x, y = f * np.cos(turn), f * np.sin(turn)
    voxel, projector, between = np.sinc(x) * np.sinc(y), np.sinc(x) ** 2, np.sinc(f) ** 2
    transfer = (voxel * projector * between * (0.5 + 0.5 * np.cos(2 * np.pi * f))).mean(axis=1)
    expected = f[np.argmax(transfer < 0.5), 0] / pixel
    assert got.mtf50 == pytest.approx(expected, rel=0.05)
    assert got.contrast_hu == pytest.approx(contrast, rel=0.02)


def test_noise_of_the_virtual_scanner_keeps_its_texture_when_the_dose_falls(chest):
    volume, _, spacing = chest
    spectra = []
    for dose in (1.0, 0.25):
        pair = [scanned(volume[:4], spacing[1], dose, seed) for seed in (1, 2)]
        noise = difference_noise(*pair)
        regions = regions_of_interest(noise, volume[:4] > -500, 32)
        spectra.append(noise_power_spectrum(regions, spacing[1:]))
    full, quarter = spectra
    assert 3.0 < quarter.variance / full.variance < 6.0
    assert spectrum_distance(quarter, full) < 0.1
    assert mean_frequency(quarter) == pytest.approx(mean_frequency(full), rel=0.05)


def test_detectability_of_inserted_lesions_falls_with_the_dose(chest):
    """Faint lesions of 8 mm in the heart, 15 HU over it."""
    volume, _, spacing = chest
    size, channels, repeats = 24, dog_channels(24, count=6, first=0.015), 8
    present, absent = ({dose: [] for dose in (1.0, 0.25, 0.05)} for _ in range(2))
    for z in (0, 1):
        plane = volume[z, :112, :112]
        free = np.zeros((1, *plane.shape), bool)
        inner = slice(size // 2, -size // 2)
        free[0, inner, inner] = flat_tissue_mask(plane)[inner, inner]
        sites = random_sites(free, spacing, [8.0] * 6, z, separation_mm=12.0)
        lesions = [Lesion(site, 8.0, 15.0, "rod") for site in sites if site is not None]
        pixels = np.array([lesion.centre_mm[1:] for lesion in lesions]) / spacing[1:]
        with_lesions = insert(plane[None], lesions, spacing)[0]
        stack = np.stack([*[with_lesions] * repeats, *[plane] * repeats])
        for dose in present:
            slices = scanned(stack, spacing[1], dose, 10 + z)
            regions = [regions_at(image, np.round(pixels), size) for image in slices]
            present[dose] += regions[:repeats]
            absent[dose] += regions[repeats:]
    full, quarter, twentieth = (
        detectability(np.concatenate(present[dose]), np.concatenate(absent[dose]), channels)
        for dose in present
    )
    assert full.present == full.absent >= 80
    assert full.dprime > quarter.dprime > twentieth.dprime
    assert full.low > twentieth.high


def test_sensitivity_to_inserted_nodules_falls_with_the_dose(chest):
    volume, lungs, spacing = chest

    def nodules(z, seed):
        plane, inside = volume[z : z + 1], lungs[z : z + 1]
        lesions = random_nodules(plane, spacing, 4, seed, lungs=inside)
        image = insert(plane, lesions, spacing)[0]
        centres = np.array([lesion.centre_mm[1:] for lesion in lesions]).reshape(-1, 2)
        return image, Lesions(centres, np.array([lesion.radius_mm for lesion in lesions]))

    def at(dose, places, seed):
        images, truth = zip(*(nodules(z, seed + i) for i, z in enumerate(places)), strict=True)
        return scanned(np.stack(images), spacing[1], dose, seed), truth

    learn, judge = (0, 1, 2, 3, 4, 5) * 2, (6, 7, 8, 9)
    images, truth = at(1.0, learn, 100)
    detector = train(
        [
            TrainingSlice(image, lungs[z], spacing[1:], lesions)
            for z, image, lesions in zip(learn, images, truth, strict=True)
        ],
        BlobSearch(most=150),
    )
    results = {}
    for dose in (1.0, 0.05):
        results[dose] = []
        for seed in (500, 600, 700):
            images, truth = at(dose, judge, seed)
            for z, image, lesions in zip(judge, images, truth, strict=True):
                results[dose].append((detect(detector, image, lungs[z], spacing[1:]), lesions))
    full, low = (froc(results[dose], least_mm=2.5) for dose in (1.0, 0.05))
    assert full.lesions == low.lesions >= 30
    assert sensitivity_at(full, 1.0) >= 0.75
    assert sensitivity_at(low, 1.0) < sensitivity_at(full, 1.0) - 0.2
    threshold = threshold_at(full, 1.0)
    f1 = [operating_point(results[dose], threshold, least_mm=2.5).f1 for dose in (1.0, 0.05)]
    assert f1[1] < f1[0] - 0.2
