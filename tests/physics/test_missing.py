"""Masks lose the shares that were asked for; gaps are filled as theory says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.errors import UserError
from medjax.physics import missing as physics
from medjax.physics.missing import Gaps, is_missing

# Compiled once a shape, as a training step does.
missing_mask = functools.partial(jax.jit, static_argnums=(1, 2, 3))(physics.missing_mask)
fill_linearly = jax.jit(physics.fill_linearly)

LINES = Gaps(lines=0.2, blocks=0.0)
BLOCKS = Gaps(lines=0.0, blocks=0.1, block_side=(4, 12))
SLICES = Gaps(lines=0.0, blocks=0.0, slices=0.3)


def test_lines_are_whole_and_as_many_as_asked_for() -> None:
    mask = np.asarray(missing_mask(jax.random.key(0), 64, (100, 9), LINES))[..., 0]
    assert (mask == mask[:, :, :1]).all()
    assert mask.mean() == pytest.approx(0.2, abs=0.03)
    widths = [np.bincount(ndimage.label(image[:, 0])[0])[1:] for image in mask]
    assert {1, 2, 3, 4} <= set(np.concatenate(widths).tolist())


def test_blocks_cover_their_share_with_their_sides() -> None:
    mask = np.asarray(missing_mask(jax.random.key(0), 64, (96, 128), BLOCKS))[..., 0]
    # Each sample escapes each of many small blocks: what is left is exp(-share).
    assert mask.mean() == pytest.approx(1 - np.exp(-0.1), abs=0.015)
    few = np.asarray(missing_mask(jax.random.key(1), 64, (96, 128), BLOCKS, 0.1))[..., 0]
    found = [ndimage.find_objects(ndimage.label(image)[0]) for image in few]
    sides = [s.stop - s.start for objects in found for place in objects for s in place]
    assert min(sides) >= 1 and np.median(sides) == pytest.approx(8, abs=2)
    # No corner is safer than the middle.
    everywhere = missing_mask(jax.random.key(2), 2000, (16, 16), BLOCKS)
    shares = np.mean(np.asarray(everywhere)[..., 0], axis=0)
    assert shares.std() < 0.02


def test_slices_are_whole_and_lines_differ_between_slices() -> None:
    mask = np.asarray(missing_mask(jax.random.key(0), 32, (40, 5, 6), SLICES))[..., 0]
    assert (mask == mask[:, :, :1, :1]).all()
    assert mask.mean() == pytest.approx(0.3, abs=0.05)
    lines = np.asarray(missing_mask(jax.random.key(0), 1, (12, 60, 4), LINES))[0, ..., 0]
    assert len(np.unique(lines[:, :, 0], axis=0)) > 6


def test_amount_scales_each_image_and_keys_differ() -> None:
    amount = jnp.array([0.0, 1.0, 2.0])
    both = Gaps(lines=0.1, blocks=0.1)
    shares = np.mean(
        [
            np.mean(missing_mask(jax.random.key(k), 3, (64, 64), both, amount), (1, 2, 3))
            for k in range(20)
        ],
        axis=0,
    )
    assert shares[0] == 0
    assert shares[2] / shares[1] == pytest.approx(1.85, abs=0.3)
    first, again, other = (missing_mask(jax.random.key(k), 1, (64, 64), both) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_image_has_no_slices() -> None:
    with pytest.raises(ValueError, match="no slices"):
        missing_mask(jax.random.key(0), 1, (8, 8), SLICES)


@pytest.mark.parametrize("wrong", [{"lines": 1.0}, {"blocks": -0.1}, {"block_side": (4, 2)}])
def test_impossible_gaps_are_refused(wrong) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Gaps(**wrong)


@pytest.mark.parametrize("shape", [(37, 50), (9, 14, 11)])
def test_known_samples_stay_and_a_constant_is_continued(shape) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, *shape, 1)).astype(np.float32)
    missing = rng.random(image.shape) < 0.4
    filled = np.asarray(fill_linearly(jnp.asarray(image), jnp.asarray(missing)))
    np.testing.assert_array_equal(filled[~missing], image[~missing])
    flat = np.full_like(image, 3.5)
    np.testing.assert_allclose(
        fill_linearly(jnp.asarray(flat), jnp.asarray(missing)), 3.5, rtol=1e-6
    )


def test_planes_are_filled_exactly() -> None:
    y, x = np.mgrid[:24, :24].astype(np.float32)
    plane = (2 * y - x)[None, ..., None]
    missing = np.zeros(plane.shape, bool)
    missing[0, 6:14, 8:17] = missing[0, 18:20] = True
    filled = fill_linearly(jnp.asarray(plane), jnp.asarray(missing))
    np.testing.assert_allclose(filled, plane, atol=1e-4)


def test_lost_lines_are_filled_as_numpy_interpolates() -> None:
    image = np.random.default_rng(0).normal(size=(1, 30, 7, 1)).astype(np.float32)
    missing = np.zeros(image.shape, bool)
    lost = [0, 1, 5, 9, 10, 11, 29]
    missing[0, lost] = True
    filled = np.asarray(fill_linearly(jnp.asarray(image), jnp.asarray(missing)))
    known = np.setdiff1d(np.arange(30), lost)
    for column in range(7):
        expected = np.interp(lost, known, image[0, known, column, 0])
        np.testing.assert_allclose(filled[0, lost, column, 0], expected, atol=1e-5)


def test_what_no_axis_reaches_takes_what_is_near() -> None:
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[0, 3, 3], image[0, 28, 28] = 5.0, -5.0
    missing = image == 0
    filled = np.asarray(fill_linearly(jnp.asarray(image), jnp.asarray(missing)))[0, ..., 0]
    assert filled[5, 6] == 5 and filled[30, 27] == -5


def test_hidden_values_do_not_leak_and_nothing_known_is_zero() -> None:
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 16, 16, 1)), jnp.float32)
    missing = jnp.asarray(rng.random((1, 16, 16, 1)) < 0.3)
    poisoned = jnp.where(missing, 1e6, image)
    np.testing.assert_array_equal(fill_linearly(image, missing), fill_linearly(poisoned, missing))
    assert not np.asarray(fill_linearly(image, jnp.ones_like(missing))).any()


def test_air_and_padding_are_not_missing() -> None:
    np.testing.assert_array_equal(
        is_missing(np.array([-1024.0, -2000.0, 0.0, -4096.0], np.float32)), [0, 0, 0, 1]
    )
