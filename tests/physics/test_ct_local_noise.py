"""Patch noise and patch sharpness against the whole virtual scanner, on a phantom and a patient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medjax.physics.ct import (
    DoseModel,
    ParallelBeam,
    Rays,
    fbp,
    fill_padding,
    hu_to_mu,
    local_blur,
    local_noise,
    log_variance,
    low_dose,
    mu_to_hu,
    project,
    ray_angles,
    ray_sums,
)

N, VIEWS, P, DOSE = 256, 180, 40, 0.25
REALISATIONS = 24


def phantom():
    """A water ellipse of 330 × 190 mm with a bone and an air cavity: strong, slanted anisotropy."""
    k = (np.arange(N) - (N - 1) / 2) * 1.4
    hu = np.where(np.hypot(k / 165, k[:, None] / 95) < 1, 0.0, -1000.0)
    hu[np.hypot(k - 60, k[:, None] + 30) < 15] = 800.0
    hu[np.hypot(k + 70, k[:, None] - 20) < 12] = -1000.0
    return hu, 1.4


def patient():
    path = get_testdata_file("693_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("needs pydicom-data")
    scan = pydicom.dcmread(path)
    hu = scan.pixel_array * float(scan.RescaleSlope) + float(scan.RescaleIntercept)
    hu = np.where(hu < -1024, -1000.0, hu)
    return hu.reshape(N, 2, N, 2).mean((1, 3)), 2 * float(scan.PixelSpacing[0])


# Corners of patches: centre, to the side, and on the slant where noise leans.
CASES = {
    "phantom": (phantom, [(108, 108), (108, 60), (130, 160)]),
    "patient": (patient, [(108, 108), (75, 130), (140, 165)]),
}


@pytest.fixture(scope="module", params=CASES)
def scanner(request):
    """A slice, where to look, its noise-free reconstruction and many noise realisations in HU."""
    make, corners = CASES[request.param]
    hu, pixel = make()
    geometry = ParallelBeam.for_image(N, pixel, VIEWS)
    clean = project(geometry, hu_to_mu(jnp.asarray(hu, jnp.float32))[None, ..., None])
    offset = jnp.asarray(geometry.ray_offsets_mm()[:, None], jnp.float32)

    @jax.jit
    def noise(key):
        # Channels of one call: the projector's coordinates are computed once for all.
        rays = jnp.tile(clean, (1, 1, 1, 6))
        noisy = low_dose(key, rays, DOSE, DoseModel(), offset)
        return jnp.moveaxis(fbp(geometry, noisy - clean)[0], -1, 0) * (1000 / 0.02)

    keys = jax.random.split(jax.random.key(0), REALISATIONS // 6)
    noises = np.concatenate([np.asarray(noise(key)) for key in keys])
    reconstruction = np.asarray(mu_to_hu(fbp(geometry, clean)))[0, ..., 0]
    return hu, pixel, corners, reconstruction, noises


def patch(image, corner):
    return image[..., corner[0] : corner[0] + P, corner[1] : corner[1] + P]


def rays_at(hu, pixel, corner, copies):
    rays = ray_sums(hu, pixel, (corner[0] + (P - 1) / 2, corner[1] + (P - 1) / 2), width=P)
    return Rays(*(np.repeat(x[None], copies, 0) for x in rays))


def power(noise):
    window = np.hanning(P)[:, None] * np.hanning(P)
    return (np.abs(np.fft.fft2(noise * window)) ** 2).mean(0)


def lean(spectrum):
    """Second angular moment in the middle band: (0, 0) for noise alike in all directions."""
    f = np.fft.fftfreq(P)
    radius, angle = np.hypot(f, f[:, None]), np.arctan2(f[:, None], f)
    weight = spectrum * ((radius > 0.1) & (radius < 0.35))
    return np.array([(weight * g(2 * angle)).sum() for g in (np.cos, np.sin)]) / weight.sum()


def test_local_noise_is_that_of_the_whole_scanner(scanner):
    hu, pixel, corners, _, noises = scanner
    make = jax.jit(functools.partial(local_noise, shape=(P, P), views=VIEWS))
    radius = np.hypot(np.fft.fftfreq(P), np.fft.fftfreq(P)[:, None])
    ratios = []
    for corner in corners:
        theirs = patch(noises, corner)
        rays = rays_at(hu, pixel, corner, 192)
        ours = np.asarray(make(jax.random.key(1), rays, pixel_mm=pixel, dose=DOSE))[..., 0]
        assert ours.std() == pytest.approx(theirs.std(), rel=0.06), corner
        spectra = power(ours), power(theirs)
        np.testing.assert_allclose(lean(spectra[0]), lean(spectra[1]), atol=0.06)
        bands = [(radius >= low) & (radius < low + 0.08) for low in (0.03, 0.11, 0.19, 0.27)]
        ratios.append([spectra[0][band].mean() / spectra[1][band].mean() for band in bands])
    # Pooled over patches: leaning noise has few independent modes a band.
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1, atol=0.15)


def test_noise_leans_with_the_body(scanner):
    """So that the comparison above means something: the anisotropy it checks is there."""
    _, _, corners, _, noises = scanner
    assert max(np.abs(lean(power(patch(noises, c)))).max() for c in corners) > 0.2


def test_blur_gives_the_sharpness_of_the_reconstruction(scanner):
    hu, _, corners, reconstruction, _ = scanner
    inner = slice(6, -6)
    for corner in corners:
        sharp = patch(hu, corner)
        blurred = np.asarray(local_blur(jnp.asarray(sharp, jnp.float32)[None, ..., None]))[
            0, ..., 0
        ]
        target = patch(reconstruction, corner)
        away = [np.sqrt(np.mean((x - target)[inner, inner] ** 2)) for x in (sharp, blurred)]
        # Where the patch is flat there is nothing to blur: streaks are all that is left.
        assert away[1] < (0.6 * away[0] if sharp.std() > 5 else away[0] + 0.01), corner


def test_blur_keeps_the_mean_and_has_no_memory_of_the_other_edge():
    ramp = jnp.broadcast_to(jnp.linspace(-500.0, 500.0, 33)[:, None], (33, 20))[None, ..., None]
    blurred = local_blur(ramp)
    assert blurred.shape == ramp.shape
    np.testing.assert_allclose(blurred[:, 4:-4], ramp[:, 4:-4], atol=1.0)
    np.testing.assert_allclose(local_blur(jnp.full((1, 16, 16, 2), 40.0)), 40.0, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_ray_sums_are_the_projector_at_that_detector(dtype):
    n, pixel, views = 96, 1.3, 16
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1500, (n, n)).astype(dtype)
    hu[:9] = -2000
    geometry = ParallelBeam.for_image(n, pixel, views)
    mu = hu_to_mu(fill_padding(jnp.asarray(hu, jnp.float32)))
    sinogram = np.asarray(project(geometry, mu[None, ..., None]))[0, ..., 0]
    theta = ray_angles(views)
    for view, detector, along in ((0, 70, 3.0), (3, 60, -20.0), (8, 80, 11.5), (13, 51, 0.0)):
        s = detector - (geometry.detectors - 1) / 2
        x = s * np.cos(theta[view]) - along * np.sin(theta[view])
        y = s * np.sin(theta[view]) + along * np.cos(theta[view])
        rays = ray_sums(hu, pixel, (y + (n - 1) / 2, x + (n - 1) / 2), theta)
        assert rays.integrals[view] == pytest.approx(sinogram[view, detector], rel=1e-4)
        assert rays.offsets_mm[view] == pytest.approx(s * pixel, abs=1e-4)


def test_rays_spread_across_a_patch_are_rays_beside_its_centre():
    hu, pixel = phantom()
    theta = ray_angles(8)
    spread = ray_sums(hu, pixel, (120.0, 131.0), theta, width=20.0)
    assert spread.integrals.shape == spread.offsets_mm.shape == (8, 3)
    for i, angle in enumerate(theta):
        for j, aside in enumerate((-(50**0.5), 0.0, 50**0.5)):
            centre = 120.0 + aside * np.sin(angle), 131.0 + aside * np.cos(angle)
            one = ray_sums(hu, pixel, centre, theta[i : i + 1])
            assert spread.integrals[i, j] == pytest.approx(one.integrals[0], rel=1e-4)
            assert spread.offsets_mm[i, j] == pytest.approx(one.offsets_mm[0], abs=1e-3)


def test_ray_sums_of_a_slice_that_is_not_square():
    rays = ray_sums(np.zeros((10, 30), np.int16), 2.0, (4.5, 14.5), ray_angles(2))
    # View 0 looks along the rows' axis (10 pixels of water), view 1 along the columns'.
    np.testing.assert_allclose(rays.integrals, [10 * 2 * 0.02, 30 * 2 * 0.02], rtol=1e-5)


@pytest.mark.parametrize("line_integral", [1.0, 8.5, 12.0])
def test_log_variance_down_to_starvation(line_integral):
    model = DoseModel()
    p = jnp.full((2, 200, 200, 1), line_integral)
    samples = np.asarray(low_dose(jax.random.key(0), p, 0.25, model, offset_mm=40.0))
    expected = log_variance(jnp.float32(line_integral), jnp.float32(40.0), jnp.float32(0.25), model)
    assert float(expected) == pytest.approx(samples.astype(np.float64).var(), rel=0.03)


def test_every_sample_has_its_own_dose_and_pixel_size():
    rays = rays_at(*phantom(), (108, 108), 4)
    noise = local_noise(
        jax.random.key(0),
        rays,
        jnp.asarray([1.4, 1.4, 0.7, 1.4]),
        jnp.asarray([1.0, 0.25, 1.0, 1.0]),
        (64, 48),
        views=VIEWS,
    )
    assert noise.shape == (4, 64, 48, 1)
    std = np.asarray(noise).std((1, 2, 3))
    assert std[2] / std[0] == pytest.approx(2, rel=0.08)
    assert 2 * 0.92 < std[1] / std[0] < 2.6
    assert abs(np.corrcoef(np.ravel(noise[0]), np.ravel(noise[3]))[0, 1]) < 0.1


def test_patch_is_not_periodic():
    rays = rays_at(*phantom(), (108, 108), 256)
    noise = np.asarray(local_noise(jax.random.key(0), rays, 1.4, 1.0, (32, 32)))[..., 0]
    across = np.corrcoef(noise[:, :, 0].ravel(), noise[:, :, -1].ravel())[0, 1]
    beside = np.corrcoef(noise[:, :, 0].ravel(), noise[:, :, 1].ravel())[0, 1]
    assert abs(across) < 0.05 < 0.3 < beside


@pytest.mark.parametrize(
    ("filter", "cutoff", "detector_pixels"),
    [("ramp", 1.0, 1.0), ("shepp-logan", 0.8, 1.0), ("hann", 0.6, 0.5), ("hann", 1.0, 1.5)],
)
def test_filter_and_detector_spacing_shape_the_noise_as_in_fbp(filter, cutoff, detector_pixels):
    n, pixel, views = 64, 1.4, 90
    geometry = ParallelBeam(n, pixel, views, int(96 / detector_pixels), pixel * detector_pixels)
    # Air under a flat beam: every log projection has variance 1 / photons.
    model = DoseModel(photons=1e4, electronic_sigma=0.0, bowtie=None)
    white = 0.01 * jax.random.normal(jax.random.key(0), (1, views, geometry.detectors, 80))
    images = np.moveaxis(np.asarray(fbp(geometry, white, filter, cutoff))[0], -1, 0)
    theirs = patch(images, (12, 12)) * (1000 / 0.02)
    rays = Rays(np.zeros((200, 16), np.float32), np.zeros((200, 16), np.float32))
    options = {"filter": filter, "cutoff": cutoff, "detector_pixels": detector_pixels}
    ours = local_noise(jax.random.key(1), rays, pixel, 1.0, (P, P), model, views=views, **options)
    ours = np.asarray(ours)[..., 0]
    assert ours.std() == pytest.approx(theirs.std(), rel=0.03)
    f = np.fft.fftfreq(P)
    radius = np.hypot(f, f[:, None])
    spectra = power(ours), power(theirs)
    for low in (0.05, 0.15, 0.25, 0.35):
        band = (radius >= low) & (radius < low + 0.1)
        mine, reference = (s[band].mean() for s in spectra)
        whole = spectra[1].mean()
        assert mine == pytest.approx(reference, rel=0.08, abs=0.01 * whole), low
