"""Motion in k-space against SciPy's shifts and rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.errors import UserError
from medjax.physics.mri import (
    MotionModel,
    Poses,
    corrupt,
    draw_poses,
    kspace_of_moving,
    rotate,
    segment_of_line,
)


def blobs(*shape: int) -> np.ndarray:
    """Smooth blobs well inside the image: band-limited, so interpolation hardly matters."""
    image = np.zeros(shape, np.float32)
    rng = np.random.default_rng(0)
    for _ in range(6):
        image[tuple(rng.integers(n // 3, 2 * n // 3) for n in shape)] += rng.uniform(0.5, 1)
    return ndimage.gaussian_filter(image, 2.0) * 50


def still(segments: int, dims: int) -> Poses:
    return Poses(jnp.zeros((segments, dims)), jnp.zeros((segments, 1 if dims == 2 else 3)))


@pytest.mark.parametrize(("shape", "axis"), [((33, 40), 0), ((14, 17, 20), 1)])
def test_no_motion_leaves_the_image(shape, axis) -> None:
    image = blobs(*shape)
    out = corrupt(image, still(5, len(shape)), jnp.ones(len(shape)), axis)
    np.testing.assert_allclose(out, image, atol=2e-6 * image.max())


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
def test_the_same_translation_in_all_segments_is_a_shift_in_mm(spacing) -> None:
    image = blobs(40, 48)
    poses = still(4, 2)._replace(translation_mm=jnp.tile(jnp.asarray([3.0, -1.3]), (4, 1)))
    out = corrupt(image, poses, jnp.asarray(spacing), 0)
    shift = [3.0 / spacing[0], -1.3 / spacing[1]]
    expected = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), shift)).real
    np.testing.assert_allclose(out, np.abs(expected), atol=1e-5 * image.max())
    np.testing.assert_allclose(
        out, ndimage.shift(image, shift, order=5, mode="grid-wrap"), atol=0.01 * image.max()
    )


@pytest.mark.parametrize("degrees", [-12.0, 4.0])
def test_rotation_agrees_with_scipy(degrees) -> None:
    image = blobs(48, 41)
    out = rotate(image, jnp.asarray([degrees]), jnp.ones(2))
    expected = ndimage.rotate(image, degrees, reshape=False, order=5)
    np.testing.assert_allclose(out, expected, atol=0.01 * image.max())


@pytest.mark.parametrize(("plane", "axes"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_each_plane_of_a_volume_agrees_with_scipy(plane, axes) -> None:
    image = blobs(30, 32, 35)
    angles = np.zeros(3, np.float32)
    angles[plane] = 7.0
    out = rotate(image, jnp.asarray(angles), jnp.full(3, 2.0))
    expected = ndimage.rotate(image, 7.0, axes=axes, reshape=False, order=5)
    np.testing.assert_allclose(out, expected, atol=0.01 * image.max())


def test_rotation_is_one_in_millimetres() -> None:
    spacing = np.array([2.0, 1.0])
    y, x = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip((32, 48), spacing, strict=True))

    def blob(at_y: float, at_x: float) -> np.ndarray:
        return np.exp(-((y[:, None] - at_y) ** 2 + (x - at_x) ** 2) / (2 * 4.0**2))

    angle = np.deg2rad(6.0)
    out = rotate(jnp.asarray(blob(10, 6), jnp.float32), jnp.asarray([6.0]), jnp.asarray(spacing))
    # From y towards x.
    expected = blob(10 * np.cos(angle) - 6 * np.sin(angle), 10 * np.sin(angle) + 6 * np.cos(angle))
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_rotation_keeps_energy_and_is_undone() -> None:
    image = blobs(41, 37)
    angle = jnp.asarray([9.0])
    turned = rotate(image, angle, jnp.ones(2))
    assert float(jnp.sum(turned**2)) == pytest.approx(float(np.sum(image**2)), rel=1e-4)
    back = rotate(turned, -angle, jnp.ones(2))
    np.testing.assert_allclose(back, image, atol=1e-4 * image.max())


def test_each_line_of_kspace_shows_its_segments_pose() -> None:
    image = blobs(32, 30)
    poses = draw_poses(jax.random.key(2), MotionModel(4, 3.0, 0.0), 2)
    kspace = np.asarray(kspace_of_moving(image, poses, jnp.ones(2), 0))
    whole = np.fft.fft2(image)
    for line, segment in enumerate(segment_of_line(32, 4)):
        moved = ndimage.fourier_shift(whole, np.asarray(poses.translation_mm[segment]))
        np.testing.assert_allclose(kspace[line], moved[line], atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("segments", [1, 4, 5, 16])
@pytest.mark.parametrize("lines", [31, 64])
def test_segments_are_consecutive_and_the_middle_one_holds_the_centre(lines, segments) -> None:
    order = np.fft.fftshift(segment_of_line(lines, segments))
    assert order[0] == 0 and order[-1] == segments - 1
    assert np.all(np.isin(np.diff(order), (0, 1)))
    middle = np.flatnonzero(order == segments // 2)
    assert abs((middle[0] + middle[-1]) / 2 - lines // 2) <= 0.5


def test_poses_have_the_spread_that_the_model_names() -> None:
    keys = jax.random.split(jax.random.key(0), 4000)
    model = MotionModel(9, 2.0, 3.0, "walk")
    poses = jax.vmap(lambda key: draw_poses(key, model, 3))(keys)
    assert np.all(np.asarray(poses.translation_mm[:, 4]) == 0)
    # From the centre, 4 of the walk's 9 moves lie on either side.
    for end in (0, 8):
        expected = np.sqrt(4 / 9)
        assert np.std(poses.translation_mm[:, end]) == pytest.approx(2 * expected, rel=0.05)
        assert np.std(poses.rotation_degrees[:, end]) == pytest.approx(3 * expected, rel=0.05)
    jumps = MotionModel(9, 2.0, 3.0, "jumps", jump_probability=1.0)
    poses = jax.vmap(lambda key: draw_poses(key, jumps, 3))(keys)
    # The difference of two independent poses.
    assert np.std(poses.translation_mm[:, 0]) == pytest.approx(2 * np.sqrt(2), rel=0.05)


def test_a_head_that_jumps_rests_in_between() -> None:
    model = MotionModel(200, 2.0, 2.0, "jumps", jump_probability=0.1)
    path = np.asarray(draw_poses(jax.random.key(1), model, 2).translation_mm)
    moved = np.any(np.diff(path, axis=0) != 0, axis=1)
    assert 0.03 < moved.mean() < 0.2


def test_gradients_are_finite_and_right() -> None:
    image = jnp.asarray(blobs(20, 22))
    spacing = jnp.ones(2)
    poses = draw_poses(jax.random.key(0), MotionModel(3, 1.0, 2.0), 2)

    def loss(image, poses):
        return jnp.sum(corrupt(image, poses, spacing, 0) ** 3)

    to_image, to_poses = jax.jit(jax.grad(loss, argnums=(0, 1)))(image, poses)
    assert np.isfinite(to_image).all() and np.isfinite(to_poses.rotation_degrees).all()
    step = 0.05
    more, less = (
        loss(image, poses._replace(rotation_degrees=poses.rotation_degrees.at[0, 0].add(s)))
        for s in (step, -step)
    )
    numeric = float(more - less) / (2 * step)
    assert float(to_poses.rotation_degrees[0, 0]) == pytest.approx(numeric, rel=0.02)


def test_memory_does_not_grow_with_segments() -> None:
    def temporary(segments: int) -> int:
        shapes = (jnp.zeros((24, 32, 24)), still(segments, 3), jnp.ones(3))
        compiled = jax.jit(lambda i, p, s: corrupt(i, p, s, 1)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(32) < 1.1 * temporary(4)


def test_impossible_motion_is_refused() -> None:
    with pytest.raises(UserError, match="segments"):
        MotionModel(segments=0)
    with pytest.raises(UserError, match="negative"):
        MotionModel(translation_mm=-1)
    with pytest.raises(UserError, match="probability"):
        MotionModel(jump_probability=1.5)
