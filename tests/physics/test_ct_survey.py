"""Rays of patches from one survey of the slice: against each patch's own, and chords of a disc."""

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medjax.physics.ct import ray_angles, ray_sums, survey_slice, surveyed_rays

PROBES, SIDE = 48, 170


def patient():
    """An abdomen of 512 x 512 pixels; what lies outside the scanner's circle is padding."""
    path = get_testdata_file("693_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("needs pydicom-data")
    scan = pydicom.dcmread(path)
    hu = scan.pixel_array * float(scan.RescaleSlope) + float(scan.RescaleIntercept)
    return hu.astype(np.float32), float(scan.PixelSpacing[0])


def noise(rays):
    """As strong as in each direction, up to a factor."""
    return np.sqrt(np.exp(rays.integrals.astype(np.float64)).mean(axis=1))


def test_noise_of_a_patients_patches_is_that_of_their_own_rays():
    hu, pixel = patient()
    survey = survey_slice(hu, PROBES)
    corners = np.random.default_rng(0).integers(-20, 512 - SIDE + 21, (60, 2))
    off = []
    for centre in corners + (SIDE - 1) / 2:
        own = ray_sums(hu, pixel, tuple(centre), ray_angles(PROBES), width=SIDE)
        taken = surveyed_rays(survey, hu.shape, pixel, tuple(centre), width=SIDE)
        np.testing.assert_allclose(taken.offsets_mm, own.offsets_mm, atol=1e-4)
        assert taken.integrals.shape == (PROBES, 3) and taken.integrals.dtype == np.float32
        off.append(np.abs(noise(taken) / noise(own) - 1))
    assert np.median(off) < 0.001
    assert np.quantile(off, 0.99) < 0.015


def test_rays_through_a_disc_are_its_chords():
    # Odd sides, so that the last row and column have half a square.
    rows, columns, radius, pixel = 181, 221, 60.0, 0.8
    y, x = np.mgrid[:rows, :columns] - np.array([(rows - 1) / 2, (columns - 1) / 2])[:, None, None]
    # An edge one pixel wide, as of a disc sampled by pixels.
    hu = 1000 * np.clip(radius + 0.5 - np.hypot(x, y), 0, 1) - 1000
    survey = survey_slice(hu.astype(np.float32), PROBES)
    for place in ((0.0, 0.0), (11.0, -35.5), (-20.0, 3.25)):
        centre = place[0] + (rows - 1) / 2, place[1] + (columns - 1) / 2
        rays = surveyed_rays(survey, hu.shape, pixel, centre, width=30.0)
        chord = 2 * np.sqrt(np.maximum((radius * pixel) ** 2 - rays.offsets_mm**2, 0))
        np.testing.assert_allclose(rays.integrals, chord * 0.02, atol=0.03)


def test_nothing_outside_the_slice_and_no_tissue_in_padding():
    hu = np.full((64, 48), -1000, np.int16)
    hu[20:40, 10:30] = 40
    padded = np.where(hu == 40, hu, np.int16(-2000))
    survey = survey_slice(hu, PROBES)
    np.testing.assert_array_equal(survey, survey_slice(padded, PROBES))
    assert survey.max() > 0
    for centre in ((-15.0, 20.0), (30.0, 60.0), (1e4, -1e4)):
        own = ray_sums(hu, 1.0, centre, ray_angles(PROBES), width=8.0)
        taken = surveyed_rays(survey, hu.shape, 1.0, centre, width=8.0)
        # A ray along the block's edge sums half of it or none, a pixel further.
        np.testing.assert_allclose(taken.integrals, own.integrals, atol=0.3)
        apart = own.integrals == 0
        assert apart.any() and np.quantile(taken.integrals[apart], 0.9) == 0


def test_views_along_the_axes_see_rows_and_columns():
    survey = survey_slice(np.zeros((10, 30), np.int16), 2)
    rays = surveyed_rays(survey, (10, 30), 2.0, (4.5, 14.5), width=4.0)
    np.testing.assert_allclose(rays.integrals[0], 10 * 2 * 0.02, rtol=1e-5)
    np.testing.assert_allclose(rays.integrals[1], 30 * 2 * 0.02, rtol=1e-5)
