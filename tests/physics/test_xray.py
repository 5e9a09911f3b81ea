"""Exposure of radiographs against photon statistics worked out by hand, and pydicom's sigmoid."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_windowing

from medjax.errors import UserError
from medjax.physics.xray import Detector, correct_exposure, estimate_exposure, expose

FINE = Detector(bits=24, electronic_sigma=0.0, saturation=1000.0)
RESPONSES = ("log", "linear", "sigmoid")


def flat(grey: float, side: int = 128) -> jax.Array:
    return jnp.full((1, side, side, 1), grey, jnp.float32)


@pytest.mark.parametrize("sampler", ["poisson", "gaussian"])
@pytest.mark.parametrize(("grey", "exposure"), [(0.5, 1.0), (0.2, 0.25), (0.7, 1.0)])
def test_noise_is_that_of_the_photons(sampler, grey, exposure) -> None:
    detector = dataclasses.replace(FINE, electronic_sigma=5.0)
    image = expose(jax.random.key(0), flat(grey), exposure, detector, sampler)
    photons = exposure * 750 * 10 ** (2 * (0.5 - grey))
    expected = np.sqrt(photons + 25) / photons / np.log(10) / 2
    assert np.std(image) == pytest.approx(expected, rel=0.05)


def test_a_quarter_of_the_photons_doubles_the_noise_and_shifts_grey() -> None:
    one, quarter = (expose(jax.random.key(1), flat(0.4), e, FINE) for e in (1.0, 0.25))
    assert np.std(quarter) / np.std(one) == pytest.approx(2, rel=0.05)
    # log10(4) of two decades.
    assert np.mean(quarter) - np.mean(one) == pytest.approx(np.log10(4) / 2, abs=2e-3)


def test_what_saturates_is_one_grey() -> None:
    image = expose(jax.random.key(0), flat(0.1), 10.0, Detector(saturation=2.0))
    # Twice the signal of black: log10(2) of two decades below it.
    np.testing.assert_allclose(image, -np.log10(2) / 2, atol=1e-6)


def test_few_bits_leave_few_greys() -> None:
    ramp = jnp.linspace(0, 1, 128 * 128).reshape(1, 128, 128, 1)
    image = expose(jax.random.key(0), ramp, 1.0, Detector(bits=4, saturation=1.0))
    assert 10 < len(np.unique(image)) <= 15


@pytest.mark.parametrize("response", RESPONSES)
def test_grey_and_signal_are_inverse(response) -> None:
    detector = Detector(response=response)
    grey = jnp.linspace(0, 1, 101)
    np.testing.assert_allclose(detector.grey(detector.log_signal(grey)), grey, atol=2e-6)
    ends = detector.log_signal(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [1, -1], atol=1e-5)


def test_linear_response_is_linear_in_the_signal() -> None:
    detector = Detector(response="linear")
    grey = detector.grey(jnp.log10(jnp.array([2.0, 4.0, 6.0])))
    assert grey[0] - grey[1] == pytest.approx(float(grey[1] - grey[2]), rel=1e-4)


def test_sigmoid_is_dicoms() -> None:
    detector = Detector(response="sigmoid")
    level = np.linspace(-1, 1, 21)
    file = Dataset()
    file.PhotometricInterpretation, file.BitsStored, file.PixelRepresentation = "MONOCHROME2", 16, 0
    file.WindowCenter, file.WindowWidth, file.VOILUTFunction = 2000, 4000 / np.log(49), "SIGMOID"
    curve = apply_windowing(2000 - 1000 * level, file) / 65535
    np.testing.assert_allclose(detector.grey(level), (curve - 0.02) / 0.96, atol=1e-4)


@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("exposure", [0.3, 1.0, 3.0])
def test_correction_undoes_the_levels(response, exposure) -> None:
    detector = dataclasses.replace(FINE, response=response, photons=1e9)
    ramp = jnp.linspace(0.1, 0.9, 64 * 64).reshape(1, 64, 64, 1)
    image = expose(jax.random.key(0), ramp, exposure, detector, "gaussian")
    np.testing.assert_allclose(correct_exposure(image, exposure, detector), ramp, atol=3e-3)


@pytest.mark.parametrize("exposure", [0.15, 0.5, 1.0, 2.0, 6.0])
def test_the_exposure_is_found_in_the_image_alone(exposure) -> None:
    rng = np.random.default_rng(0)
    grey = np.clip(rng.beta(2, 2, (1, 256, 256, 1)) * 1.1 - 0.05, 0, 1).astype(np.float32)
    image = expose(jax.random.key(0), grey, exposure, Detector())
    assert estimate_exposure(image[0, ..., 0]) == pytest.approx(exposure, rel=0.1)


def test_each_image_of_a_batch_has_its_own_exposure() -> None:
    batch = jnp.full((3, 32, 32, 1), 0.5, jnp.float32)
    image = expose(jax.random.key(0), batch, jnp.array([0.5, 1.0, 2.0]), FINE)
    means = np.mean(image, axis=(1, 2, 3))
    np.testing.assert_allclose(means - 0.5, [np.log10(2) / 2, 0, -np.log10(2) / 2], atol=3e-3)
    back = correct_exposure(image, jnp.array([0.5, 1.0, 2.0]), FINE)
    np.testing.assert_allclose(np.mean(back, axis=(1, 2, 3)), 0.5, atol=3e-3)


def test_gradient_reaches_the_greys() -> None:
    def mean(grey):
        return jnp.mean(expose(jax.random.key(0), grey, 2.0, Detector(photons=1e5), "gaussian"))

    gradient = jax.grad(mean)(flat(0.5, 16)) * 256
    np.testing.assert_allclose(gradient, 1, atol=0.02)


@pytest.mark.parametrize("wrong", [{"photons": 0}, {"bits": 0}, {"electronic_sigma": -1.0}])
def test_impossible_detectors_are_refused(wrong) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Detector(**wrong)
