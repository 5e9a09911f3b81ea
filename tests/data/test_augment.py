"""Augmentation against dm-pix, SciPy and the theory of smoothed noise."""

import dataclasses
import functools

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.data import augment as module
from medjax.data import elastic
from medjax.data.augment import Augment, margin
from medjax.data.elastic import (
    LIMIT,
    displacement_std,
    jacobian_determinant,
    unfold,
)

# Compiled whole: as single operations the tests would take ten times as long.
warp = jax.jit(module.warp)
smooth_noise = jax.jit(elastic.smooth_noise, static_argnums=(1, 2, 3, 4))
elastic_displacement = jax.jit(elastic.elastic_displacement, static_argnums=(1, 2, 3, 4))
augment = jax.jit(module.augment, static_argnums=2)
augment_and_crop = jax.jit(module.augment_and_crop, static_argnums=(2, 3))

PLAIN = Augment(rotation_degrees=0.0, elastic_alpha=0.0, flip=False, warp_probability=1.0)


def smooth(seed, shape, sigma=3.0):
    values = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(values, sigma, mode="nearest").astype(np.float32)


def rotation(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return jnp.asarray([[cos, sin], [-sin, cos]], jnp.float32)


def pix_call(function, *args, **kwargs):
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.jit(functools.partial(function, **kwargs))(*args))


def pix_displacement(key, shape, **kwargs):
    """What dm-pix adds to the coordinates: found by deforming the coordinates themselves."""
    grid = jnp.stack(jnp.meshgrid(*[jnp.arange(float(n)) for n in shape], indexing="ij"), -1)
    moved = pix_call(pix.elastic_deformation, key, grid, **kwargs)
    return np.moveaxis(moved - np.asarray(grid), -1, 0)


def test_rotation_is_that_of_dm_pix_and_scipy():
    image = smooth(0, (33, 41))
    angle = np.deg2rad(13.0)
    ours = np.asarray(warp(jnp.asarray(image)[..., None], rotation(angle), jnp.zeros((2, 33, 41))))
    theirs = pix_call(pix.rotate, jnp.asarray(image)[..., None], angle)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    scipy = ndimage.rotate(image, 13.0, reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(ours[..., 0], scipy, atol=1e-4)


def test_deformation_is_that_of_dm_pix():
    image = jnp.asarray(np.stack([smooth(i, (48, 40)) for i in range(2)], -1))
    key = jax.random.key(1)
    options = {"alpha": 34.0, "sigma": 4.0}
    theirs = pix_call(pix.elastic_deformation, key, image, **options)
    displacement = jnp.asarray(pix_displacement(key, (48, 40), **options))
    ours = np.asarray(warp(image, jnp.eye(2), displacement))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_one_interpolation_equals_dm_pix_twice_and_blurs_less():
    sharp = smooth(3, (96, 96), 1.0)
    key, angle = jax.random.key(2), np.deg2rad(9.0)
    displacement = jnp.asarray(pix_displacement(key, (96, 96), alpha=34.0, sigma=4.0))
    image = jnp.asarray(sharp)[..., None]
    # dm-pix: first rotate, then deform, so the value at x comes from R(x + u(x)).
    twice = pix_call(
        pix.elastic_deformation, key, jnp.asarray(pix_call(pix.rotate, image, angle)),
        alpha=34.0, sigma=4.0,
    )[..., 0]  # fmt: skip
    turned = jnp.einsum("ij,jyx->iyx", rotation(angle), displacement)
    once = np.asarray(warp(image, rotation(angle), turned))[..., 0]
    middle = (slice(16, -16),) * 2
    grid = np.stack(np.meshgrid(*[np.arange(96) - 47.5] * 2, indexing="ij"))
    where = np.einsum("ij,jyx->iyx", rotation(angle), grid + np.asarray(displacement)) + 47.5
    truth = ndimage.map_coordinates(sharp, where, order=5)[middle]
    assert np.corrcoef(once[middle].ravel(), twice[middle].ravel())[0, 1] > 0.95
    assert np.std(once[middle] - truth) < 0.7 * np.std(twice[middle] - truth)


def test_volumes_are_sampled_like_scipy():
    volume = smooth(4, (9, 10, 11))
    displacement = np.random.default_rng(0).normal(size=(3, 9, 10, 11)).astype(np.float32)
    ours = warp(jnp.asarray(volume)[..., None], jnp.eye(3), jnp.asarray(displacement))
    where = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij")) + displacement
    scipy = ndimage.map_coordinates(volume, where, order=1, mode="nearest")
    np.testing.assert_allclose(np.asarray(ours)[..., 0], scipy, atol=1e-5)


@pytest.mark.parametrize(("shape", "alpha"), [((96, 96), 34.0), ((40, 40, 40), 128.0)])
def test_displacement_statistics(shape, alpha):
    batch = 24 if len(shape) == 2 else 4
    fields = np.asarray(smooth_noise(jax.random.key(0), batch, shape, alpha, 4.0))
    std = displacement_std(alpha, 4.0, len(shape))
    assert std == pytest.approx(1.38, abs=0.02)
    assert fields.std() == pytest.approx(std, rel=0.06)
    assert abs(fields.mean()) < 0.1
    # As strong at the border as in the middle, and as smooth as the kernel: a Gaussian of sigma
    # correlates over a lag d as exp(-d^2 / (4 sigma^2)).
    assert fields[..., 0].std() == pytest.approx(std, rel=0.25)
    lag = np.mean(fields[..., 4:] * fields[..., :-4]) / np.mean(fields**2)
    assert lag == pytest.approx(np.exp(-0.25), abs=0.04)


def test_paper_and_scipy_agree_on_the_strength():
    noise = np.random.default_rng(0).uniform(-34, 34, (512, 512))
    assert ndimage.gaussian_filter(noise, 4).std() == pytest.approx(
        displacement_std(34.0, 4.0, 2), rel=0.03
    )


def test_scaled():
    large = Augment().scaled(2.0)
    assert large.elastic_sigma == 8.0
    assert displacement_std(large.elastic_alpha, 8.0, 2) == pytest.approx(2 * 1.3844, rel=1e-3)
    assert Augment().scaled(dims=3).elastic_alpha == pytest.approx(128.0, rel=1e-3)


@pytest.mark.parametrize(("shape", "alpha"), [((64, 64), 60.0), ((24, 24, 24), 200.0)])
def test_no_fold(shape, alpha):
    fields = elastic_displacement(jax.random.key(0), 8, shape, alpha, 4.0)
    noise = np.random.default_rng(0).uniform(-alpha, alpha, (8, len(shape), *shape))
    raw = np.stack([[ndimage.gaussian_filter(n, 4, mode="wrap") for n in field] for field in noise])
    raw = raw.astype(np.float32)
    lowest = jax.jit(jax.vmap(lambda u: jnp.min(jacobian_determinant(u))))
    # Without the guard, fields this strong do fold.
    assert np.mean(lowest(raw) < 0) > 0.5
    assert np.all(lowest(fields) > 0)
    assert np.abs(fields).max() <= LIMIT * displacement_std(alpha, 4.0, len(shape)) * 1.0001
    # And are not weakened more than it takes.
    assert fields.std() > 0.5 * raw.std()
    gentle = jnp.asarray(raw[0] * 0.1)
    np.testing.assert_array_equal(unfold(gentle), gentle)


@pytest.mark.parametrize("dims", [2, 3])
def test_determinant_of_a_linear_map(dims):
    matrix = np.random.default_rng(dims).normal(size=(dims, dims)).astype(np.float32) * 0.3
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * dims, indexing="ij")).astype(np.float32)
    displacement = np.einsum("ij,j...->i...", matrix, grid)
    found = jacobian_determinant(jnp.asarray(displacement))
    np.testing.assert_allclose(found, np.linalg.det(np.eye(dims) + matrix), rtol=1e-3)


@pytest.mark.parametrize(
    ("patch", "config", "spacing"),
    [
        ((32, 24), dataclasses.replace(PLAIN, rotation_degrees=15.0), (1.0, 1.0)),
        ((10, 40), dataclasses.replace(PLAIN, rotation_degrees=40.0), (1.0, 0.5)),
        ((8, 9, 24), dataclasses.replace(PLAIN, tilt_degrees=20.0), (2.0, 1.0, 1.0)),
        ((32, 24), Augment(warp_probability=1.0), (1.0, 1.0)),
    ],
)
def test_margin_is_enough_and_not_wasteful(patch, config, spacing):
    """Were anything beyond the margin read, the patch would not be finite."""
    mm = jnp.tile(jnp.asarray(spacing), (64, 1))

    def finite(margins, beyond):
        shape = [p + 2 * m for p, m in zip(patch, margins, strict=True)]
        image = np.full((64, *shape, 1), np.nan, np.float32)
        image[:, *[slice(b, n - b) for n, b in zip(shape, beyond, strict=True)]] = 1.0
        out = augment_and_crop(jax.random.key(0), jnp.asarray(image), margins, config, mm)
        assert out.shape == (64, *patch, 1)
        return bool(jnp.all(jnp.isfinite(out)))

    enough = margin(config, patch, spacing)
    wide = tuple(m + 2 for m in enough)
    assert finite(wide, (2,) * len(patch))
    # The elastic part of the margin is for displacements too rare to meet here.
    if not config.elastic_alpha:
        for axis in range(len(patch)):
            if enough[axis] >= 2:
                assert not finite(wide, [4 if i == axis else 2 for i in range(len(patch))])


def test_margin_is_tight():
    assert margin(PLAIN, (64, 64)) == (0, 0)
    rotated = dataclasses.replace(PLAIN, rotation_degrees=15.0)
    # (64 - 1)/2 * (cos 15 + sin 15 - 1) = 7.08
    assert margin(rotated, (64, 64)) == (8, 8)


def test_flips_are_exact_and_fair():
    config = dataclasses.replace(PLAIN, flip=True)
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    out = np.asarray(augment(jax.random.key(0), jnp.tile(image[None, ..., None], (400, 1, 1, 1)),
                             config))[..., 0]  # fmt: skip
    options = [image[::a, ::b] for a in (1, -1) for b in (1, -1)]
    counts = [int(np.all(out == option, axis=(1, 2)).sum()) for option in options]
    assert sum(counts) == 400
    # Binomial(400, 1/4): standard deviation 8.7.
    assert all(abs(count - 100) < 45 for count in counts)


def test_the_asked_share_stays_untouched():
    config = Augment(flip=False)
    image = jnp.tile(jnp.asarray(smooth(0, (16, 16), 1.0))[None, ..., None], (400, 1, 1, 1))
    out = np.asarray(augment(jax.random.key(5), image, config))
    same = np.all(out == np.asarray(image), axis=(1, 2, 3)).mean()
    assert same == pytest.approx(0.25, abs=0.1)
    assert len(np.unique(out[:, 3, 5, 0])) > 200


def test_intensities():
    config = dataclasses.replace(
        PLAIN, gain=(0.7, 1.1), offset=(-80.0, 80.0), intensity_probability=0.5
    )
    image = jnp.tile(jnp.asarray([[0.0, 100.0]])[None, ..., None], (500, 1, 1, 1))
    out = np.asarray(augment(jax.random.key(1), image, config))[:, 0, :, 0]
    offset, gain = out[:, 0], (out[:, 1] - out[:, 0]) / 100
    changed = offset != 0
    assert changed.mean() == pytest.approx(0.5, abs=0.12)
    assert gain[~changed] == pytest.approx(1.0)
    assert gain[changed].min() > 0.7 - 1e-4 and gain[changed].max() < 1.1 + 1e-4
    assert gain[changed].mean() == pytest.approx(0.9, abs=0.04)
    assert np.abs(offset).max() <= 80 and offset[changed].std() == pytest.approx(46.2, rel=0.15)


def test_rotation_is_one_of_millimetres():
    """A disc of millimetres on samples twice as high as wide stays a disc."""
    config = dataclasses.replace(PLAIN, rotation_degrees=30.0)
    y, x = np.meshgrid(np.arange(-20, 21) * 2.0, np.arange(-40, 41) * 1.0, indexing="ij")
    disc = np.exp(-(x**2 + y**2) / 200).astype(np.float32)
    batch = jnp.tile(jnp.asarray(disc)[None, ..., None], (4, 1, 1, 1))
    spacing = jnp.tile(jnp.asarray([2.0, 1.0]), (4, 1))
    turned = np.asarray(augment(jax.random.key(0), batch, config, spacing))[..., 0]
    assert np.abs(turned - disc).max() < 0.01
    skewed = np.asarray(augment(jax.random.key(0), batch, config))[..., 0]
    assert np.abs(skewed - disc).max() > 0.05
    unknown = np.asarray(augment(jax.random.key(0), batch, config, spacing * jnp.nan))[..., 0]
    np.testing.assert_allclose(unknown, skewed, atol=1e-5)


def test_images_of_a_batch_differ_and_channels_do_not():
    image = jnp.tile(jnp.asarray(smooth(1, (24, 24)))[None, ..., None], (3, 1, 1, 2))
    config = dataclasses.replace(Augment(), warp_probability=1.0)
    out = np.asarray(augment(jax.random.key(0), image, config))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    assert not np.allclose(out[0], out[1], atol=1e-3)
    again = np.asarray(augment(jax.random.key(0), image, config))
    np.testing.assert_array_equal(out, again)


def test_margins_too_wide():
    with pytest.raises(ValueError, match="leave nothing"):
        augment_and_crop(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), (4, 4), PLAIN)
