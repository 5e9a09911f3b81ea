import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from medjax.errors import UserError
from medjax.evaluate import Tiling, ensemble, ramp, restore_tiled, starts


@pytest.mark.parametrize("length", [1, 31, 32, 33, 50, 64, 100, 257])
@pytest.mark.parametrize("overlap", [0, 5, 16])
def test_tiles_cover_every_sample_and_keep_the_overlap(length: int, overlap: int) -> None:
    size = 32
    first = starts(length, size, overlap)
    covered = np.zeros(max(length, size), int)
    for start in first:
        covered[start : start + size] += 1
    assert covered.all()
    assert first[0] == 0 and first[-1] == max(length, size) - size
    assert all(b - a <= size - overlap for a, b in itertools.pairwise(first))


@pytest.mark.parametrize("shape", [(20, 20), (100, 71), (32, 300), (1, 50), (40, 33, 50)])
def test_a_pixelwise_method_gives_the_same_in_tiles(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tiled = restore_tiled(lambda x: np.sin(x) + 1, image, Tiling(size=32, overlap=8, batch=3))
    np.testing.assert_allclose(tiled, np.sin(image) + 1, atol=1e-6)


def test_every_call_has_one_shape() -> None:
    shapes = set()

    def restore(tiles: np.ndarray) -> np.ndarray:
        shapes.add(tiles.shape)
        return tiles

    for shape in [(20, 20), (100, 71), (64, 64)]:
        restore_tiled(restore, np.zeros(shape, np.float32), Tiling(size=32, overlap=8, batch=4))
    assert shapes == {(4, 32, 32, 1)}


def test_a_jump_between_tiles_is_blended_over_the_overlap() -> None:
    calls = iter(range(100))

    def restore(tiles: np.ndarray) -> np.ndarray:
        return np.full_like(tiles, next(calls))

    tiling = Tiling(size=32, overlap=8, batch=1)
    row = restore_tiled(restore, np.zeros((32, 56), np.float32), tiling)[16]
    assert row[0] == 0 and row[-1] == 1
    assert np.abs(np.diff(row)).max() < 0.2


def test_the_weight_never_vanishes() -> None:
    assert ramp(16, 8).min() > 0
    assert ramp(16, 0).tolist() == [1.0] * 16


def test_too_much_overlap_is_refused() -> None:
    with pytest.raises(UserError, match="0 to half"):
        Tiling(size=32, overlap=17)


def test_tiles_may_differ_along_the_axes_and_hold_single_slices() -> None:
    image = np.random.default_rng(0).normal(size=(5, 40, 33)).astype(np.float32)
    shapes = set()

    def restore(tiles: np.ndarray) -> np.ndarray:
        shapes.add(tiles.shape)
        return 2 * tiles

    tiled = restore_tiled(restore, image, Tiling(size=(1, 16, 32), overlap=4, batch=2))
    assert shapes == {(2, 1, 16, 32, 1)}
    np.testing.assert_allclose(tiled, 2 * image, atol=1e-6)
    with pytest.raises(UserError, match="one for each of 3 axes"):
        restore_tiled(restore, image, Tiling(size=(16, 32), overlap=4))


@pytest.mark.parametrize("shape", [(2, 6, 6, 1), (1, 4, 6, 6, 1)])
def test_the_ensemble_averages_what_depends_on_orientation(shape: tuple[int, ...]) -> None:
    tiles = jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    # What treats all directions alike comes through unchanged ...
    np.testing.assert_allclose(ensemble(jnp.tanh, tiles), jnp.tanh(tiles), atol=1e-6)
    # ... and a fixed ramp along an axis cancels with its mirror image.
    ramps = jnp.broadcast_to(jnp.arange(6.0)[:, None] - 2.5, shape)
    np.testing.assert_allclose(ensemble(lambda x: x + ramps, tiles), tiles, atol=1e-5)


def test_every_member_of_the_ensemble_is_put_back_where_it_was() -> None:
    tiles = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 1)).astype(np.float32))
    kernel = np.array([[0.0, 1, 0], [2, 3, 4], [0, 5, 6]], np.float32)

    def correlate(x: jax.Array) -> jax.Array:
        def host(x: np.ndarray) -> np.ndarray:
            return scipy.ndimage.correlate(np.asarray(x)[0, ..., 0], kernel, mode="constant")[
                None, ..., None
            ]

        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    turns = [np.rot90(k, n) for k in (kernel, kernel.T) for n in range(4)]
    expected = scipy.ndimage.correlate(
        np.asarray(tiles)[0, ..., 0], np.mean(turns, axis=0), mode="constant"
    )
    np.testing.assert_allclose(ensemble(correlate, tiles)[0, ..., 0], expected, atol=1e-5)
