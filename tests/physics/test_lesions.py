import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import special

from medjax.physics.lesions import Lesion, coverage, insert

SPACING = (1.0, 0.8, 0.7)
SHAPE = (24, 40, 44)


def drawn(lesion, mtf50=None, shape=SHAPE, spacing=SPACING):
    return insert(np.zeros(shape, np.float32), [lesion], spacing, mtf50)


def volume_mm3(image, spacing=SPACING):
    return image.sum(dtype=np.float64) * math.prod(spacing)


@pytest.mark.parametrize("diameter", [4.0, 7.3, 10.0])
@pytest.mark.parametrize("mtf50", [None, 0.35])
def test_a_sphere_holds_its_volume_whatever_its_place_and_blur(diameter, mtf50):
    lesion = Lesion((11.37, 15.2, 16.05), diameter, 100.0)
    expected = 100 * math.pi / 6 * diameter**3
    assert volume_mm3(drawn(lesion, mtf50)) == pytest.approx(expected, rel=0.01)


def test_the_centre_of_mass_is_the_centre():
    image = drawn(Lesion((11.37, 15.2, 16.05), 8.0, 100.0), 0.4)
    weights = image / image.sum()
    axes = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    centre = [step * (axis * weights).sum() for axis, step in zip(axes, SPACING, strict=True)]
    assert centre == pytest.approx((11.37, 15.2, 16.05), abs=0.02)


def test_a_thick_slice_dilutes_a_small_sphere():
    """A sphere of 4 mm in the middle of a 5 mm slice: at its axis 4/5 of the contrast is left."""
    image = drawn(Lesion((0, 10.0, 10.0), 4.0, 900.0), shape=(1, 41, 41), spacing=(5.0, 0.5, 0.5))
    chord = 2 * np.sqrt(2.0**2 - 1.0**2)
    assert image[0, 20, 20] == pytest.approx(900 * 4 / 5, rel=0.03)
    assert image[0, 20, 22] == pytest.approx(900 * chord / 5, rel=0.05)


def test_blur_has_the_half_modulation_asked_for():
    """The border of a wide rod is an error function with the Gaussian's standard deviation."""
    mtf50, radius = 0.3, 30.0
    sigma = 0.1874 / mtf50
    lesion = Lesion((0, 40.0, 40.0), 2 * radius, 50.0, "rod")
    image = drawn(lesion, mtf50, (1, 401, 401), (5.0, 0.2, 0.2))
    distance = np.arange(401) * 0.2 - 40.0
    expected = 25 * (1 + special.erf((radius - np.abs(distance)) / (math.sqrt(2) * sigma)))
    # The pixel's own width and the circle's bend are what is left.
    assert np.abs(image[0, 200] - expected).max() < 0.5


def test_a_rod_is_the_same_disc_in_every_slice():
    image = drawn(Lesion((3.0, 15.2, 16.05), 10.0, 50.0, "rod"), 0.35)
    assert (image == image[:1]).all()
    assert volume_mm3(image[:1]) == pytest.approx(50 * math.pi * 25, rel=0.01)


def test_spicules_reach_out_of_the_core_and_no_farther_than_said():
    lesion = Lesion((11.0, 15.0, 16.0), 8.0, 1.0, "spiculated", seed=3)
    image, sphere = drawn(lesion), drawn(dataclasses.replace(lesion, shape="sphere"))
    assert (image >= sphere - 1e-6).all()
    assert 1.1 < volume_mm3(image) / volume_mm3(sphere) < 2.0
    axes = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    distance = np.sqrt(
        sum(
            (axis * step - centre) ** 2
            for axis, step, centre in zip(axes, SPACING, lesion.centre_mm, strict=True)
        )
    )
    voxel = np.linalg.norm(SPACING) / 2
    assert not image[distance > lesion.reach_mm + voxel].any()
    assert image[distance > lesion.radius_mm + voxel].max() > 0.3


def test_the_seed_decides_the_shape():
    lesion = Lesion((11.0, 15.0, 16.0), 8.0, 1.0, "spiculated", seed=3)
    assert (drawn(lesion) == drawn(lesion)).all()
    assert (drawn(lesion) != drawn(dataclasses.replace(lesion, seed=4))).any()


@pytest.mark.parametrize("centre", [(0, 0, 0), (23.0, 31.2, 30.1), (11.0, 0.3, 16.0)])
def test_what_lies_outside_is_cut_off(centre):
    lesion = Lesion(centre, 9.0, 100.0)
    pad = 10
    wide = drawn(
        dataclasses.replace(
            lesion,
            centre_mm=tuple(c + pad * s for c, s in zip(centre, SPACING, strict=True)),
        ),
        0.35,
        tuple(n + 2 * pad for n in SHAPE),
    )
    inner = (slice(pad, -pad),) * 3
    assert drawn(lesion, 0.35) == pytest.approx(wide[inner], abs=1e-3)


@pytest.mark.parametrize("far", [-50.0, 100.0])
def test_a_lesion_far_outside_changes_nothing(far):
    place, share = coverage(Lesion((far, far, far), 9.0, 100.0), SHAPE, SPACING)
    assert share.size == 0
    assert np.zeros(SHAPE)[place].shape == share.shape
    assert not drawn(Lesion((far, far, far), 9.0, 100.0), 0.35).any()


def test_lesions_are_added_and_the_scan_is_left_alone():
    scan = np.random.default_rng(0).normal(-850, 30, SHAPE).astype(np.float32)
    before = scan.copy()
    two = [Lesion((6.0, 10.0, 10.0), 5.0, 800.0), Lesion((15.0, 20.0, 20.0), 6.0, -40.0)]
    out = insert(scan, two, SPACING)
    assert (scan == before).all()
    assert out.dtype == np.float32
    expected = sum(drawn(lesion, 0.35) for lesion in two)
    assert out - scan == pytest.approx(expected, abs=1e-3)


def test_a_record_goes_to_json_and_back():
    lesion = Lesion((1.0, 2.0, 3.0), 5.0, 800.0, "spiculated", 9, 4)
    stored = json.loads(json.dumps(dataclasses.asdict(lesion)))
    assert Lesion(**{**stored, "centre_mm": tuple(stored["centre_mm"])}) == lesion


def test_refusals():
    with pytest.raises(ValueError, match="unknown shape 'cube'"):
        Lesion((0, 0, 0), 4.0, 1.0, "cube")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="diameter_mm"):
        Lesion((0, 0, 0), 0.0, 1.0)
    with pytest.raises(ValueError, match="need z, y and x"):
        drawn(Lesion((0, 0, 0), 4.0, 1.0), shape=(8, 8))
    with pytest.raises(ValueError, match="must be positive"):
        drawn(Lesion((0, 0, 0), 4.0, 1.0), 0.0)
