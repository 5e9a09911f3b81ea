"""Volumes on a network's grid: the same anatomy however a file lies, and back without loss."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import apply_orientation as turn
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from medjax.placing import placement
from medjax.scan import Scan

GRID = (2.0, 2.0, 2.0)


def scan(volume: np.ndarray, affine: np.ndarray | None, spacing: tuple[float, ...] | None) -> Scan:
    return Scan(volume, "zyx", spacing, affine, "MR", "", Path("a.nii"))


def lying(volume: np.ndarray, spacing: tuple[float, ...], codes: str) -> Scan:
    """A volume that rises to S, A, R as a file would hold it whose axes rise to `codes`."""
    straight = np.zeros((4, 4))
    # Array axis 0 is S, 1 is A, 2 is R.
    straight[[2, 1, 0], [0, 1, 2]] = spacing
    straight[3, 3] = 1
    way = ornt_transform(axcodes2ornt(tuple("SAR")), axcodes2ornt(tuple(codes)))
    turned = np.ascontiguousarray(turn(volume, way))
    affine = (straight @ inv_ornt_aff(way, volume.shape)).astype(np.float32)
    own = np.linalg.norm(affine[:3, :3], axis=0)
    return scan(turned, affine, tuple(own.tolist()))


def blobs(shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Smooth spots at fixed places in mm, not symmetric in any way."""
    axes = [(np.arange(n) + 0.5) * mm for n, mm in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    places = ((20, 12, 30, 1.0), (10, 30, 12, 0.6), (30, 30, 30, 0.3))
    spots = (
        a * np.exp(-((z - p) ** 2 + (y - q) ** 2 + (x - r) ** 2) / 72) for p, q, r, a in places
    )
    return sum(spots).astype(np.float32)


@pytest.mark.parametrize("codes", ["SAR", "LPS", "RAS", "IPL", "ARS", "PIR"])
def test_every_way_to_lie_comes_to_one_grid_and_back_exactly(codes: str) -> None:
    volume = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
    file = lying(volume, GRID, codes)
    place = placement(file, "SAR", GRID)
    brought = place.bring(file.array)
    np.testing.assert_array_equal(brought, volume)
    np.testing.assert_array_equal(place.restored(file.array, brought, brought), file.array)
    np.testing.assert_array_equal(place.back(brought), file.array)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.0, 4.0), (3.0, 2.0, 1.0)])
def test_a_change_on_the_grid_lands_where_it_belongs(spacing: tuple[float, float, float]) -> None:
    shape = tuple(int(40 / mm) for mm in spacing)
    file = lying(blobs(shape, spacing), spacing, "LPS")
    place = placement(file, "SAR", GRID)
    brought = place.bring(file.array)
    assert brought.shape == (20, 20, 20)
    # The grid is sampled at other places in mm than the file: the spots are known at both.
    inner = (slice(2, -2),) * 3
    known = blobs((20, 20, 20), GRID)
    np.testing.assert_allclose(brought[inner], known[inner], atol=0.12)
    doubled = place.restored(file.array, brought, 2 * brought)
    np.testing.assert_allclose(doubled, 2 * file.array, atol=0.12)
    assert np.corrcoef(doubled.ravel(), file.array.ravel())[0, 1] > 0.99


def test_detail_finer_than_the_grid_stays() -> None:
    spacing = (1.0, 1.0, 1.0)
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    file = lying(noise, spacing, "RAS")
    place = placement(file, "SAR", GRID)
    brought = place.bring(file.array)
    # A restoration that changes nothing changes nothing of the file, not even its finest detail.
    np.testing.assert_array_equal(place.restored(file.array, brought, brought), file.array)
    raised = place.restored(file.array, brought, brought + 5)
    np.testing.assert_allclose(raised, file.array + 5, atol=1e-5)


def test_a_file_that_does_not_say_how_it_lies_is_left_as_it_lies() -> None:
    volume = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    np.testing.assert_array_equal(
        placement(scan(volume, None, GRID), "SAR", GRID).bring(volume), volume
    )
    flat = np.zeros((4, 4), np.float32)
    place = placement(scan(volume, flat, GRID), "SAR", None)
    np.testing.assert_array_equal(place.bring(volume), volume)


def test_spacings_that_are_nearly_the_grids_are_not_interpolated() -> None:
    volume = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    near = lying(volume, (2.05, 1.95, 2.0), "SAR")
    assert placement(near, "SAR", GRID).shape == (4, 6, 8)
    far = lying(volume, (2.3, 2.0, 2.0), "SAR")
    assert placement(far, "SAR", GRID).shape == (5, 6, 8)
