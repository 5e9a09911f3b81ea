"""fMRI physics against formulas, SciPy and a pulse-by-pulse loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from medjax.errors import UserError
from medjax.physics.fmri import (
    Activity,
    HeadMotion,
    Scanner,
    acquire,
    activity,
    block_response,
    degrade,
    framewise_displacement,
    head_motion,
    hrf,
    rician,
    slice_gains,
    slice_times,
    spin_history,
    step_response,
)
from medjax.physics.fmri_motion import rotations

STILL = HeadMotion(events=0.0, breathing_mm=0.0)
MM = np.array([5.0, 3.0, 3.0], np.float32)


def head(t: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth random object, so that linear interpolation serves as well as any other."""
    noise = np.random.default_rng(seed).normal(size=(7, 24, 20))
    volume = ndimage.gaussian_filter(noise, (1, 2.5, 2.5))
    return np.repeat(volume[None] / np.abs(volume).max(), t, 0).astype(np.float32)


def test_hrf_is_spms_two_gamma_densities() -> None:
    t = np.linspace(-2, 32, 3401)
    expected = stats.gamma.pdf(t, 6) - stats.gamma.pdf(t, 16) / 6
    response = np.asarray(hrf(t))
    np.testing.assert_allclose(response, expected, atol=2e-6)
    assert t[response.argmax()] == pytest.approx(5.0, abs=0.05)
    assert t[response.argmin()] == pytest.approx(t[expected.argmin()], abs=0.1)
    assert 14 < t[response.argmin()] < 17 and response.min() < 0
    assert not response[t <= 0].any()


def test_step_response_is_the_integral() -> None:
    fine = np.linspace(0, 40, 40001)
    integral = np.cumsum(stats.gamma.pdf(fine, 6) - stats.gamma.pdf(fine, 16) / 6) * 1e-3 / (5 / 6)
    np.testing.assert_allclose(step_response(fine[::500]), integral[::500], atol=1e-3)


@pytest.mark.parametrize("onset", [0.0, 7.0])
def test_blocks_convolved_numerically(onset: float) -> None:
    fine = np.arange(-100, 120, 0.02)
    design = ((fine - onset) % 40 < 20).astype(float) * (fine >= onset - 80)
    kernel = (stats.gamma.pdf(np.arange(0, 40, 0.02), 6)) - stats.gamma.pdf(
        np.arange(0, 40, 0.02), 16
    ) / 6
    expected = np.convolve(design, kernel)[: len(fine)] * 0.02 / (5 / 6)
    times = np.arange(0, 110, 2.5, dtype=np.float32)
    at = np.interp(times, fine, expected)
    np.testing.assert_allclose(block_response(times, 20.0, onset), at, atol=5e-3)


def test_activity_has_the_stated_height_in_the_spot_only() -> None:
    model = Activity(percent=2.0, block_s=20.0, radius_mm=6.0, waves_percent=0.0)
    times = np.arange(0, 80, 2, dtype=np.float32)
    centres = np.array([[3, 4, 4], [3, 18, 16]], np.float32)
    change = activity(jax.random.key(0), times, centres, (7, 24, 20), MM, model)
    response = np.asarray(block_response(times, 20.0))
    np.testing.assert_allclose(change[:, 3, 4, 4], 0.02 * response, atol=1e-6)
    # One radius away: 6 mm are two voxels along y.
    np.testing.assert_allclose(change[:, 3, 6, 4], 0.02 * np.exp(-0.5) * response, atol=1e-6)
    assert np.abs(change[:, 3, 18, 16]).max() < 1e-6


def test_slow_waves_have_variance_and_band() -> None:
    model = Activity(percent=0.0, waves_percent=1.0, radius_mm=1e3)
    times = np.arange(0, 4000, 2, dtype=np.float32)
    centres = np.zeros((2, 3), np.float32)
    wave = np.asarray(activity(jax.random.key(1), times, centres, (1, 1, 1), MM, model)).ravel()
    assert wave.std() == pytest.approx(0.01, rel=0.15)
    power = np.abs(np.fft.rfft(wave)) ** 2
    hertz = np.fft.rfftfreq(len(wave), 2.0)
    assert power[(hertz > 0.009) & (hertz < 0.101)].sum() > 0.99 * power.sum()


def test_slice_orders() -> None:
    np.testing.assert_allclose(slice_times(5), np.array([0, 3, 1, 4, 2]) / 5)
    np.testing.assert_allclose(slice_times(4), np.array([0, 2, 1, 3]) / 4)
    np.testing.assert_allclose(slice_times(3, "ascending"), np.array([0, 1, 2]) / 3)
    np.testing.assert_allclose(slice_times(3, "descending"), np.array([2, 1, 0]) / 3)
    with pytest.raises(ValueError, match="slice order"):
        slice_times(3, "random")  # pyright: ignore[reportArgumentType]


def test_no_motion_is_the_identity_to_the_bit() -> None:
    series = head()
    np.testing.assert_array_equal(acquire(series, np.zeros((3, 7, 6), np.float32), MM), series)


def test_no_trouble_changes_nothing() -> None:
    series = head()
    quiet = Scanner(motion=STILL, dropouts=0.0)
    centre = (np.array(series.shape[1:], np.float32) - 1) / 2
    out, poses = degrade(
        jax.random.key(0), jnp.abs(series), 2.0, MM, slice_times(7), centre, 0.0, quiet
    )
    np.testing.assert_allclose(out, np.abs(series), rtol=1e-6, atol=1e-30)
    assert not np.any(poses)


@pytest.mark.parametrize(("axis", "voxels"), [(0, 1), (1, 2), (2, -3)])
def test_whole_voxels_shift_exactly(axis: int, voxels: int) -> None:
    series = head(1)
    poses = np.zeros((1, 7, 6), np.float32)
    poses[..., axis] = voxels * MM[axis]
    moved = np.asarray(acquire(series, poses, MM))[0]
    shift = [0, 0, 0]
    shift[axis] = -voxels
    expected = ndimage.shift(series[0], shift, order=0, mode="nearest")
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_each_slice_has_its_own_pose() -> None:
    series = head(2)
    poses = np.zeros((2, 7, 6), np.float32)
    poses[1, 4] = [0.0, 3.0, 0.0, 0.05, 0.0, 0.0]
    moved = np.asarray(acquire(series, poses, MM))
    same = np.isclose(moved, series, atol=1e-7).all(axis=(2, 3))
    assert (~same).sum() == 1 and not same[1, 4]


def test_rigid_motion_agrees_with_scipy() -> None:
    series = head(1)
    pose = np.array([2.0, -1.5, 2.5, 0.06, -0.04, 0.03], np.float32)
    moved = acquire(series, np.broadcast_to(pose, (1, 7, 6)), MM)
    # scipy.spatial works in x, y, z: about z the plane (y, x) turns the other way round.
    cos, sin = np.cos(pose[3:]), np.sin(pose[3:])
    rz = np.array([[1, 0, 0], [0, cos[0], sin[0]], [0, -sin[0], cos[0]]])
    ry = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    rx = np.array([[cos[2], sin[2], 0], [-sin[2], cos[2], 0], [0, 0, 1]])
    turn = rz @ ry @ rx
    np.testing.assert_allclose(rotations(pose[3:]), turn, atol=1e-6)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    matrix = np.diag(1 / MM) @ turn @ np.diag(MM)
    middle = (np.array(series.shape[1:]) - 1) / 2
    offset = middle - matrix @ middle + pose[:3] / MM
    expected = ndimage.affine_transform(series[0], matrix, offset, order=1, mode="nearest")
    np.testing.assert_allclose(moved[0], expected, atol=2e-5)


def test_a_patch_moves_as_in_its_volume() -> None:
    series = head(1)
    pose = np.array([1.0, -1.5, 1.5, 0.03, -0.02, 0.02], np.float32)
    whole = acquire(series, np.broadcast_to(pose, (1, 7, 6)), MM)
    corner = np.array([1, 6, 4])
    patch = series[:, 1:6, 6:20, 4:18]
    centre = ((np.array(series.shape[1:]) - 1) / 2 - corner).astype(np.float32)
    moved = acquire(patch, np.broadcast_to(pose, (1, 5, 6)), MM, centre)
    inner = np.asarray(moved)[:, 1:-1, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, whole[:, 2:5, 8:18, 6:16], atol=1e-5)


def test_head_motion_stays_in_its_bounds_and_rate() -> None:
    model = HeadMotion(events=0.2, shift_mm=1.0, rotation_deg=1.0, breathing_mm=0.0)
    times = (np.arange(400)[:, None] + slice_times(8)) * 2.0
    poses = np.asarray(head_motion(jax.random.key(3), times.astype(np.float32), 2.0, model))
    # Movements last 2 s at most, so no more than two of neighbouring volumes overlap.
    assert np.abs(poses[..., :3]).max() <= 4.0
    assert np.abs(poses[..., 3:]).max() <= np.deg2rad(4.0)
    moving = (poses != 0).any(-1)
    # A movement of 1.15 s in the mean, in a fifth of the volumes of 2 s.
    assert moving.mean() == pytest.approx(0.2 * 1.15 / 2, rel=0.35)
    assert 0 < moving.any(1).mean() < 0.5
    mixed = moving.any(1) & ~moving.all(1)
    assert mixed.any()
    rest = head_motion(jax.random.key(3), times.astype(np.float32), 2.0, STILL)
    assert not np.any(rest)


def test_framewise_displacement_is_powers() -> None:
    poses = np.zeros((4, 6), np.float32)
    poses[1] = [0.1, -0.2, 0.3, 0.001, -0.002, 0.003]
    poses[2] = poses[1]
    np.testing.assert_allclose(
        framewise_displacement(poses), [0, 0.6 + 50 * 0.006, 0, 0.9], atol=1e-6
    )


def test_dropouts_where_stated_only() -> None:
    scanner = Scanner(dropouts=0.1, signal_left=(0.2, 0.7))
    gains = np.asarray(slice_gains(jax.random.key(0), (200, 30), scanner))
    lost = gains != 1
    assert lost.mean() == pytest.approx(0.1, abs=0.015)
    assert gains[lost].min() >= 0.2 and gains[lost].max() < 0.7
    none = Scanner(dropouts=0.0)
    np.testing.assert_array_equal(slice_gains(jax.random.key(0), (20, 30), none), 1)


def test_a_dropout_darkens_its_slice_alone() -> None:
    series = jnp.abs(head(6)) + 0.5
    lossy = Scanner(motion=STILL, dropouts=0.2, signal_left=(0.0, 0.5), spin_history=False)
    centre = np.array([3, 11.5, 9.5], np.float32)
    key = jax.random.key(5)
    out, _ = degrade(key, series, 2.0, MM, slice_times(7), centre, 0.0, lossy)
    ratio = np.asarray(out / series)
    gains = ratio.mean((2, 3))
    np.testing.assert_allclose(ratio / gains[..., None, None], 1, rtol=1e-5)
    assert 1 <= (gains < 0.51).sum() < 20 and np.isclose(gains[gains > 0.51], 1, atol=1e-6).all()


def test_rician_moments() -> None:
    for signal, sigma in ((0.0, 1.0), (2.0, 1.0), (1.0, 0.05)):
        drawn = np.asarray(rician(jax.random.key(2), jnp.full(200_000, signal), sigma))
        expected = stats.rice(signal / sigma, scale=sigma)
        assert drawn.mean() == pytest.approx(expected.mean(), rel=5e-3)
        assert drawn.std() == pytest.approx(expected.std(), rel=1e-2)


def slow_spins(through, phase, tr, t1, flip, planes):
    """Sheets as objects, pulse by pulse in Python."""
    volumes, slices = through.shape
    cos = np.cos(np.deg2rad(flip))
    e = np.exp(-tr / t1)
    steady = (1 - e) / (1 - e * cos)
    sheets = []
    for k in range((slices + 2) * planes):
        z = (k + 0.5) / planes - 1.5
        own = round(z)
        inside = 0 <= own < slices
        last = (phase[own] - 1) * tr if inside else 0.0
        sheets.append([z, steady * cos if inside else 1.0, last])
    gain = np.zeros((volumes, slices))
    for t in range(volumes):
        for s in np.argsort(phase):
            now = (t + phase[s]) * tr
            hit = [h for h in sheets if abs(h[0] - s - through[t, s]) < 0.5]
            read = []
            for h in hit:
                m = 1 - (1 - h[1]) * np.exp(-(now - h[2]) / t1)
                read.append(m)
                h[1], h[2] = m * cos, now
            gain[t, s] = np.mean(read) / steady if read else 1 / steady
    return gain


def test_spin_history_pulse_by_pulse() -> None:
    rng = np.random.default_rng(0)
    phase = slice_times(5)
    through = rng.uniform(-0.7, 0.7, (4, 5)).astype(np.float32)
    through[0] = 0
    times = ((np.arange(4)[:, None] + phase) * 2.0).astype(np.float32)
    gain = spin_history(through, times, 2.0, t1_s=1.3, flip_deg=75.0, planes=4)
    expected = slow_spins(through, phase, 2.0, 1.3, 75.0, 4)
    np.testing.assert_allclose(gain, expected, rtol=2e-4)
    assert np.abs(expected - 1).max() > 0.05


def test_spins_at_rest_and_after_a_long_wait_show_nothing() -> None:
    times = ((np.arange(4)[:, None] + slice_times(6)) * 2.0).astype(np.float32)
    np.testing.assert_array_equal(spin_history(np.zeros((4, 6), np.float32), times, 2.0), 1.0)
    moved = np.zeros((4, 6), np.float32)
    moved[2] = 0.3
    late = spin_history(moved, times * 50, 100.0)
    np.testing.assert_allclose(late, 1.0, atol=1e-3)


def test_probabilities_are_checked() -> None:
    with pytest.raises(UserError, match="probabilities"):
        Scanner(dropouts=1.5)
