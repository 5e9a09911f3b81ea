"""Low-dose simulation: statistics of the counts, noise against dose, units."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.physics.ct import (
    Bowtie,
    DoseModel,
    ParallelBeam,
    fill_padding,
    hu_to_mu,
    low_dose,
    mu_to_hu,
    simulate_low_dose,
)


def abdomen(n, pixel_mm):
    k = (np.arange(n) - (n - 1) / 2) * pixel_mm
    hu = np.where(np.hypot(k / 165, k[:, None] / 120) < 1, 0.0, -1000.0)
    return jnp.asarray(hu[None, ..., None], jnp.float32), np.hypot(k, k[:, None]) < 40


@pytest.fixture(scope="module")
def simulate():
    """One compile for the whole file: dose is traced."""
    geometry = ParallelBeam.for_image(128, 2.8, views=180)
    image, centre = abdomen(128, 2.8)
    run = jax.jit(functools.partial(simulate_low_dose, geometry=geometry))
    return lambda seed, dose: run(jax.random.key(seed), image, dose=dose), centre


def test_hounsfield_units_round_trip_and_water_is_zero():
    assert hu_to_mu(0.0) == pytest.approx(0.02)
    assert hu_to_mu(-1000.0) == 0.0
    hu = jnp.linspace(-1000, 3000, 9)
    np.testing.assert_allclose(mu_to_hu(hu_to_mu(hu)), hu, atol=1e-3)


def test_padding_becomes_air():
    np.testing.assert_array_equal(
        fill_padding(jnp.asarray([-3024.0, -2000.0, -1024.0, -1000.0, 40.0])),
        [-1000.0, -1000.0, -1024.0, -1000.0, 40.0],
    )


def test_noise_doubles_at_a_quarter_dose_and_a_little_more(simulate):
    run, centre = simulate
    std = {}
    for dose in (1.0, 0.25):
        noise = [np.asarray(r.low - r.full)[0, ..., 0] for r in (run(i, dose) for i in range(4))]
        std[dose] = np.std([x[centre] for x in noise])
    # Photons alone give exactly 2; electronic noise adds to it. 3 % covers the sampling error.
    assert 2 * 0.97 <= std[0.25] / std[1.0] < 2.4


def test_full_is_the_image_in_hu_and_low_is_unbiased(simulate):
    run, centre = simulate
    result = run(0, 0.5)
    assert np.asarray(result.full)[0, ..., 0][centre].mean() == pytest.approx(0, abs=1.0)
    assert np.asarray(result.low)[0, ..., 0][centre].mean() == pytest.approx(0, abs=2.0)


def test_default_noise_is_that_of_a_routine_abdomen():
    # Noise depends on the detector's width, so this one needs the full matrix; few views suffice,
    # because variance goes as one over their number.
    image, centre = abdomen(512, 0.7)
    geometry = ParallelBeam.for_image(512, 0.7, views=48)
    result = jax.jit(simulate_low_dose, static_argnames=("geometry", "sampler"))(
        jax.random.key(1), image, geometry, 1.0, sampler="gaussian"
    )
    noise = np.asarray(result.low - result.full)[0, ..., 0][centre]
    assert 8 < noise.std() / np.sqrt(720 / 48) < 14


@pytest.mark.parametrize("sampler", ["poisson", "gaussian"])
def test_log_projections_have_the_variance_of_the_counts(sampler):
    model = DoseModel(photons=1e5, electronic_sigma=20.0)
    p = jnp.full((2, 200, 200, 1), 3.0)
    noisy = low_dose(jax.random.key(0), p, jnp.asarray([1.0, 0.1]), model, sampler=sampler)
    for i, dose in enumerate((1.0, 0.1)):
        counts = 1e5 * dose * np.exp(-3)
        expected = np.sqrt(counts + 20**2) / counts
        sample = np.asarray(noisy[i], np.float64)
        # Third-order terms of the logarithm are below a per cent at these counts.
        assert sample.std() == pytest.approx(expected, rel=0.02)
        assert sample.mean() == pytest.approx(3.0 + expected**2 / 2, abs=4 * expected / 200)


def test_counts_are_poisson_not_gaussian():
    # At four expected photons and no electronic noise, e^{-4} of the rays see none: the floor.
    model = DoseModel(photons=4.0, electronic_sigma=0.0, bowtie=None, count_floor=0.5)
    noisy = low_dose(jax.random.key(0), jnp.zeros((2, 200, 200, 1)), 1.0, model)
    counts = np.asarray(4 * jnp.exp(-noisy)).round(3)
    assert np.mean(counts == 0.5) == pytest.approx(np.exp(-4), rel=0.1)
    assert np.mean(counts == 3.0) == pytest.approx(np.exp(-4) * 4**3 / 6, rel=0.03)


def test_bowtie_flattens_the_shadow_of_its_cylinder():
    bowtie = Bowtie(radius_mm=100.0, strength=1.0)
    s = jnp.linspace(-99, 99, 21)
    path = 2 * jnp.sqrt(100.0**2 - s**2)
    received = bowtie.transmission(s) * jnp.exp(-0.02 * path)
    np.testing.assert_allclose(received, received[10], rtol=1e-5)
    assert bowtie.transmission(jnp.zeros(())) == 1.0
    assert DoseModel(bowtie=None).blank(s, 0.5) == 5e5


def test_gradient_reaches_the_line_integrals():
    model = DoseModel()
    p = jnp.full((1, 4, 8, 1), 2.0)
    gradient = jax.grad(
        lambda p: low_dose(jax.random.key(0), p, 1.0, model, sampler="gaussian").sum()
    )(p)
    np.testing.assert_allclose(gradient, 1.0, atol=0.05)
