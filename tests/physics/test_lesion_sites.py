import dataclasses

import numpy as np
import pytest

from medjax.physics.lesion_sites import (
    NoduleModel,
    lung_mask,
    parenchyma_mask,
    random_nodules,
    random_sites,
)
from medjax.physics.lesions import insert

SPACING = (5.0, 1.5, 1.5)


def thorax(slices=3, size=160):
    """Body with two lungs, a vessel through each, a trachea, and air around."""
    y, x = np.meshgrid(*[np.arange(size) - size / 2] * 2, indexing="ij")
    plane = np.full((size, size), -1000.0)
    plane[np.hypot(y, x) < 72] = 40
    lungs = (np.hypot(y / 1.5, np.abs(x) - 34) < 28).astype(bool)
    plane[lungs] = -850
    plane[np.hypot(y + 10, np.abs(x) - 34) < 4] = 30
    plane[np.hypot(y + 45, x) < 5] = -1000
    volume = np.broadcast_to(plane, (slices, size, size)).astype(np.float32)
    return volume, np.broadcast_to(lungs, volume.shape)


def noisy(volume, sigma=20.0):
    return volume + np.random.default_rng(0).normal(0, sigma, volume.shape).astype(np.float32)


def test_lungs_without_trachea_and_outside_air_but_with_their_vessels():
    volume, lungs = thorax()
    found = lung_mask(noisy(volume), SPACING)
    assert (found & lungs).sum() / (found | lungs).sum() > 0.97


def test_parenchyma_leaves_vessels_out():
    volume, lungs = thorax()
    found = parenchyma_mask(noisy(volume), SPACING)
    assert (volume[found] == -850).mean() > 0.99
    assert found.sum() > 0.85 * (lungs & (volume == -850)).sum()


def test_sites_keep_their_distances():
    mask = np.zeros((4, 60, 60), bool)
    mask[:, 10:50, 5:55] = True
    mask[:, 30, 30] = False
    outside = np.argwhere(~mask) * np.array(SPACING)
    clearances = [9.0, 6.0, 6.0, 4.0, 4.0]
    sites = random_sites(mask, SPACING, clearances, 7, separation_mm=15.0)
    found = np.array(sites)
    for site, clearance in zip(found, clearances, strict=True):
        assert np.linalg.norm(outside - site, axis=1).min() >= clearance
    apart = np.linalg.norm(found[:, None] - found, axis=-1)
    assert apart[~np.eye(len(found), dtype=bool)].min() >= 15.0


def test_sites_follow_the_seed_and_spread():
    mask = np.ones((1, 30, 30), bool)
    many = random_sites(mask, SPACING, [1.0] * 200, 1)
    assert many == random_sites(mask, SPACING, [1.0] * 200, 1)
    assert many != random_sites(mask, SPACING, [1.0] * 200, 2)
    # Uniform over 30 columns of 1.5 mm: mean 21.75, standard deviation 12.98.
    assert np.mean(many, axis=0)[1:] == pytest.approx([21.75, 21.75], abs=4 * 12.98 / 200**0.5)


def test_no_room_is_none():
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 10:20, 10:20] = True
    assert random_sites(mask, SPACING, [3.0, 30.0], 0)[1] is None
    assert random_sites(np.zeros((1, 9, 9), bool), SPACING, [0.0], 0) == [None]


def test_nodules_lie_in_parenchyma_with_the_hu_asked_for():
    volume, _ = thorax()
    model = NoduleModel(ground_glass=0.5, separation_mm=20.0)
    lesions = random_nodules(volume, SPACING, 8, 3, model)
    assert len(lesions) == 8
    assert lesions == random_nodules(volume, SPACING, 8, 3, model)
    assert lesions != random_nodules(volume, SPACING, 8, 4, model)
    wall = np.argwhere(volume != -850) * np.array(SPACING)
    for lesion in lesions:
        distance = np.linalg.norm(wall - lesion.centre_mm, axis=1).min()
        # Half a pixel's diagonal is how far the centre is moved off its voxel.
        assert distance >= lesion.reach_mm + model.clearance_mm - 1.5 / 2**0.5
        assert 4 <= lesion.diameter_mm <= 10
        hu = -850 + lesion.contrast_hu
        assert -50 <= hu <= 100 or (-700 <= hu <= -500 and lesion.shape == "sphere")
    shapes = {lesion.shape for lesion in random_nodules(volume, SPACING, 8, 3, NoduleModel())}
    assert shapes == {"sphere", "spiculated"}


def test_an_inserted_nodule_reaches_its_hu_at_the_middle():
    volume, _ = thorax()
    model = NoduleModel(diameter_mm=(10.0, 10.0), ground_glass=0.0, spiculated=0.0)
    model = dataclasses.replace(model, solid_hu=(30.0, 30.0))
    (lesion,) = random_nodules(volume, SPACING, 1, 0, model)
    out = insert(volume, [lesion], SPACING)
    at = tuple(round(c / s) for c, s in zip(lesion.centre_mm, SPACING, strict=True))
    assert out[at] == pytest.approx(30.0, abs=30)


def test_a_crop_needs_the_lungs_of_the_whole_slice():
    volume, _ = thorax()
    crop = (slice(None), slice(40, 120), slice(0, 60))
    lungs = lung_mask(volume, SPACING)
    assert random_nodules(volume[crop], SPACING, 2, 0) == ()
    assert len(random_nodules(volume[crop], SPACING, 2, 0, lungs=lungs[crop])) == 2


def test_a_scan_without_lungs_gets_no_nodules():
    assert random_nodules(np.full((1, 64, 64), 40.0), SPACING, 3, 0) == ()
