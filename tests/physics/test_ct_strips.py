"""Strips of rays through a region, against analytic line integrals and whole scans."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.physics.ct import ParallelBeam, fbp, project
from medjax.physics.ct_strips import (
    mirrored,
    nearest,
    region_of,
    spectra,
    strip_offsets,
    strips,
)

SIZE, SIDE, VIEWS = 64, 16, 48
WHOLE = ParallelBeam.for_image(SIZE, 1.5, VIEWS)
REGION = region_of(WHOLE, SIDE)
ANGLES = np.arange(VIEWS) * np.pi / VIEWS


def blob(row: float, column: float, offsets: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Line integrals of a Gaussian at row, column from the isocentre, at these ray offsets."""
    middle = column * np.cos(ANGLES) + row * np.sin(ANGLES)
    return np.exp(-((offsets - middle[:, None]) ** 2) / (2 * sigma**2)).astype(np.float32)


def whole_offsets(geometry: ParallelBeam) -> np.ndarray:
    return np.tile(geometry.in_pixels().offsets(), (VIEWS, 1))


@pytest.mark.parametrize("spacing", [1.0, 0.75])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (9.5, -14.25), (-20.0, 11.0)])
def test_strips_are_the_rays_through_the_region(spacing: float, centre) -> None:
    whole = dataclasses.replace(WHOLE, detector_mm=spacing * WHOLE.pixel_mm, detectors=144)
    region = region_of(whole, SIDE)
    sinogram = blob(5.0, -10.0, whole_offsets(whole))
    offsets = strip_offsets(whole, region, centre)
    cut = strips(whole, region, spectra(whole, region, sinogram), centre)
    assert cut.shape == offsets.shape == (VIEWS, region.detectors)
    inside = np.abs(offsets) < whole.in_pixels().offsets()[-1]
    np.testing.assert_allclose(cut[inside], blob(5.0, -10.0, offsets)[inside], atol=1e-4)


def test_rays_beside_the_detector_are_zero() -> None:
    offsets = strip_offsets(WHOLE, REGION, (0.0, 40.0))
    cut = strips(WHOLE, REGION, spectra(WHOLE, REGION, blob(0, 0, whole_offsets(WHOLE))), (0, 40))
    beside = np.abs(offsets) > WHOLE.in_pixels().offsets()[-1] + 1
    assert beside.any()
    np.testing.assert_allclose(cut[beside], 0, atol=1e-5)


def test_white_noise_stays_white() -> None:
    rng = np.random.default_rng(0)
    whole = dataclasses.replace(WHOLE, views=4000)
    noise = rng.normal(size=(whole.views, whole.detectors)).astype(np.float32)
    region = region_of(whole, SIDE)
    cut = strips(whole, region, spectra(whole, region, noise), (3.3, -2.6))
    along = [np.mean(cut[:, : -k or None] * cut[:, k:]) for k in range(4)]
    np.testing.assert_allclose(along, [1, 0, 0, 0], atol=0.015)


def test_the_noise_of_a_region_is_the_backprojection_of_its_strips() -> None:
    noise = np.random.default_rng(1).normal(size=(VIEWS, WHOLE.detectors)).astype(np.float32)
    image = np.asarray(fbp(WHOLE, noise[None, ..., None]))[0, ..., 0]
    waves = spectra(WHOLE, REGION, noise)

    def apart(corner: tuple[int, int]) -> float:
        centre = tuple(c + (SIDE - SIZE) / 2 for c in corner)
        cut = strips(WHOLE, REGION, waves, centre)
        local = np.asarray(fbp(REGION, cut[None, ..., None]))[0, ..., 0]
        true = image[corner[0] : corner[0] + SIDE, corner[1] : corner[1] + SIDE]
        return float((local - true).std() / true.std())

    # In the middle both interpolate between the same detectors; elsewhere between others.
    assert apart((24, 24)) < 0.005
    assert apart((10, 33)) < 0.25


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_strips_are_those_of_the_mirror_image(axis: int) -> None:
    image = np.random.default_rng(2).normal(size=(SIDE, SIDE)).astype(np.float32)

    def seen(x: np.ndarray) -> np.ndarray:
        return np.asarray(project(REGION, x[None, ..., None]))

    expected = seen(np.flip(image, axis).copy())
    np.testing.assert_allclose(mirrored(jnp.asarray(seen(image)), axis), expected, atol=1e-4)


def test_the_nearest_detector_is_taken_of_what_changes_slowly() -> None:
    values = np.tile(np.arange(WHOLE.detectors, dtype=np.float32), (VIEWS, 1))
    at = nearest(WHOLE, REGION, values, (2.0, 7.0))
    exact = strip_offsets(WHOLE, REGION, (2.0, 7.0)) + (WHOLE.detectors - 1) / 2
    inside = (exact > 0) & (exact < WHOLE.detectors - 1)
    assert np.abs(at - exact)[inside].max() <= 0.5 + 1e-4
