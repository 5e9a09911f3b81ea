"""Poses found from k-space against those that made it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.errors import UserError
from medjax.physics.mri import Poses, kspace_of_moving, line_mask
from medjax.physics.mri_motion import along
from medjax.physics.mri_poses import PoseSearch, find_poses
from medjax.physics.mri_reconstruction import as_real, cropped, predicted, reconstruct, solve

SEGMENTS = 4
MM = np.full(2, 2.0, np.float32)
_moved = jax.jit(kspace_of_moving, static_argnums=3)


def acquired(image: np.ndarray, poses: Poses, mm: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(_moved(image, poses, mm, axis))


QUICK = PoseSearch(lines=(0.5, 1.0), evaluations=(25, 20), others=1.0)


def head() -> tuple[np.ndarray, np.ndarray]:
    """A slice with a bright rim and structure inside, and where it is."""
    y, x = np.mgrid[-28:28, -24:24]
    inside = np.asarray((y / 20) ** 2 + (x / 16) ** 2 < 1)
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=inside.shape), 1.5)
    rim = inside & ~np.asarray(ndimage.binary_erosion(inside, iterations=3), bool)
    return (inside * (0.5 + texture) + 0.5 * rim).astype(np.float32), inside


def moving() -> Poses:
    """Up to 2 mm and degrees of motion; the centre's segment, number 2, stays."""
    poses = np.array([[-1, 0.5, -1], [1.5, -1.8, -2], [0, 0, 0], [1, 2, 2]], np.float32)
    return Poses(jnp.asarray(poses[:, :2]), jnp.asarray(poses[:, 2:]))


def error(image: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    return float(np.abs(image - truth)[inside].mean() / truth[inside].mean())


@pytest.mark.parametrize("axis", [0, 1])
def test_poses_and_image_are_found_again(axis) -> None:
    truth, inside = head()
    poses = moving()
    noise = 0.005 * jax.random.normal(jax.random.key(0), (2, *truth.shape))
    kspace = acquired(truth, poses, MM, axis) + np.fft.fft2(jax.lax.complex(*noise))
    outline = np.asarray(ndimage.binary_dilation(inside, iterations=3))
    found = find_poses(kspace, MM, axis, SEGMENTS, outline, QUICK)
    off = np.concatenate(found, 1) - np.concatenate(poses, 1)
    # The outermost segment holds next to no energy, and the image hardly depends on it.
    assert np.abs(off[1:]).max() < 0.06
    np.testing.assert_array_equal(off[SEGMENTS // 2], 0)
    before = error(np.abs(np.fft.ifft2(kspace)), truth, inside)
    after = error(reconstruct(kspace, found, MM, axis, outline, 20), truth, inside)
    assert before > 0.1 and after < before / 2


def test_known_poses_give_the_image_back_from_fewer_lines() -> None:
    truth, inside = head()
    poses = moving()
    kspace = acquired(truth, poses, MM, 0)
    mask = np.fft.ifftshift(line_mask(len(truth), 1.3, 12))
    kspace = np.where(along(mask, 0, 2), kspace, 0)
    outline = np.asarray(ndimage.binary_dilation(inside))
    image = reconstruct(kspace, poses, MM, 0, outline, steps=60, damping=1e-5)
    assert error(image, truth, inside) < 0.02
    assert not image[outline == 0].any()


def test_a_still_head_is_found_to_be_still() -> None:
    truth, inside = head()
    still = Poses(jnp.zeros((SEGMENTS, 2)), jnp.zeros((SEGMENTS, 1)))
    kspace = acquired(truth, still, MM, 0)
    found = find_poses(kspace, MM, 0, SEGMENTS, inside, QUICK)
    assert np.abs(np.concatenate(found, 1)).max() < 0.1
    assert error(reconstruct(kspace, found, MM, 0, inside, 20), truth, inside) < 0.02


def test_a_scan_of_one_segment_has_nothing_to_find() -> None:
    truth, inside = head()
    still = Poses(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    kspace = acquired(truth, still, MM, 0)
    found = find_poses(kspace, MM, 0, 1, inside, QUICK)
    np.testing.assert_array_equal(np.concatenate(found, 1), np.zeros((1, 3)))


def test_a_volume_turns_in_all_planes() -> None:
    truth, _ = head()
    small = np.ascontiguousarray(truth[::2, ::2])
    ramp = np.hanning(14)[:, None, None] ** 0.5 * (1 + 0.2 * np.arange(14)[:, None, None] % 3)
    volume = (ramp * small).astype(np.float32)
    outline = ndimage.binary_dilation(volume > 0.05, iterations=2)
    mm = np.full(3, 4.0, np.float32)
    poses = np.zeros((2, 6), np.float32)
    poses[0] = [2, -3, 1.5, 2, -2, 3]
    kspace = acquired(volume, Poses(*map(jnp.asarray, np.split(poses, 2, 1))), mm, 1)
    search = PoseSearch(lines=(1.0,), evaluations=(40,), others=1.0)
    found = np.concatenate(find_poses(kspace, mm, 1, 2, outline, search), 1)
    assert np.abs(found - poses).max() < 0.5


def test_with_a_margin_the_centre_of_kspace_fits_the_poses_that_made_it() -> None:
    truth, inside = head()
    outline = np.asarray(ndimage.binary_dilation(inside, iterations=3))
    poses = moving()
    kspace = acquired(truth, poses, MM, 0)

    def misfit(margin: float) -> float:
        scan = cropped(kspace, MM, 0, SEGMENTS, outline, (28, 24), margin)
        found = jnp.concatenate(poses, 1)[scan.numbers]
        image = solve(found, jnp.zeros(scan.kspace.shape), scan, 40, 1e-4)
        error = predicted(found, image, scan) - as_real(scan.kspace)
        return float(jnp.sum(jnp.square(error)))

    assert misfit(1.2) < misfit(1.0) / 10


def test_support_must_fit() -> None:
    kspace = np.ones((8, 8), np.complex64)
    with pytest.raises(ValueError, match="support"):
        find_poses(kspace, MM, 0, 2, np.ones((8, 7), bool))
    with pytest.raises(ValueError, match="support"):
        find_poses(kspace, MM, 0, 2, np.zeros((8, 8), bool))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": (0.5,)},
        {"lines": (0.5, 0.7, 1.2)},
        {"others": 0.0},
        {"inner": 0},
        {"damping": -1},
        {"margin": 0.9},
    ],
)
def test_settings_are_checked(wrong) -> None:
    with pytest.raises(UserError, match="search"):
        PoseSearch(**wrong)
