"""Which slices of a volume a 2-D loss sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.planes import fold_short, over_planes
from medjax.losses.window import soft_clip


def volume(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=(*shape, 1)).astype(np.float32)


def planes_seen(shape, **options):
    """The shapes of the batches of slices that a loss got to see."""
    shapes = set()

    def loss(a, b):
        shapes.add(a.shape)
        return jnp.mean(a - b)

    x = volume(shape)
    jax.eval_shape(lambda a, b: over_planes(loss, a, b, **options), x, x)
    return shapes


def test_images_pass_as_they_are():
    x, y = volume((2, 8, 9)), volume((2, 8, 9), 1)
    got = over_planes(lambda a, b: jnp.mean(a * b), x, y, slices=1, smallest=4)
    assert float(got) == pytest.approx(float(jnp.mean(x * y)))


def test_a_volumes_slices_come_from_all_three_axes_and_times_count_as_slices():
    options = {"slices": 4, "smallest": 4, "preferred": 5}
    # Traced branches: all three are compiled, one is drawn.
    assert planes_seen((2, 6, 7, 8), **options) == {(8, 7, 8, 1), (8, 6, 8, 1), (8, 6, 7, 1)}
    assert planes_seen((1, 3, 6, 7, 8), **options) == {(4, 7, 8, 1), (4, 6, 8, 1), (4, 6, 7, 1)}
    # Slices across a thin slab are left alone; fewer slices than asked for are all taken.
    assert planes_seen((2, 3, 17, 18), slices=4, smallest=4) == {(6, 17, 18, 1)}


@pytest.fixture(scope="module")
def slope_of_mean():
    """The slope of the mean over 4 drawn slices of a volume of 8³: what was seen."""

    def loss(restored, clean):
        mean = functools.partial(over_planes, lambda a, b: jnp.mean(a - b), slices=4, smallest=4)
        return mean(restored, clean, preferred=4)

    return jax.jit(jax.grad(loss))


def test_every_axis_and_slice_gets_its_turn_and_the_same_data_draw_the_same(slope_of_mean):
    drawn, total = [], np.zeros((8, 8, 8))
    for seed in range(90):
        x = volume((1, 8, 8, 8), seed)
        slope = np.asarray(slope_of_mean(x, x))[0, ..., 0]
        np.testing.assert_array_equal(slope, np.asarray(slope_of_mean(x, x))[0, ..., 0])
        places = [np.flatnonzero(slope.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        axis = int(np.argmin([len(p) for p in places]))
        # Four whole slices, every second one, and nothing else.
        assert (slope != 0).sum() == 4 * 64 and set(np.diff(places[axis])) == {2}
        drawn.append((axis, places[axis][0]))
        total += slope / 90
    # Three axes and two starts, each about 15 times of 90; on average every voxel counts alike.
    counts = [drawn.count((axis, start)) for axis in range(3) for start in (0, 1)]
    assert min(counts) >= 5 and sum(counts) == 90
    np.testing.assert_allclose(total, 1 / 512, rtol=0.35)


def test_one_compilation_and_the_same_slices_on_one_and_on_many_devices():
    x, y = volume((8, 8, 8, 8)), volume((8, 8, 8, 8), 1)

    def loss(r, c):
        return over_planes(lambda a, b: jnp.mean(jnp.abs(a - b)), r, c, slices=2, smallest=4)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    expected = float(jax.jit(loss)(x, y))
    sharded = jax.jit(loss)(*(jax.device_put(a, split) for a in (x, y)))
    assert float(sharded) == pytest.approx(expected, rel=1e-6)


def test_errors():
    def loss(a, b):
        return jnp.mean(a - b)

    with pytest.raises(ValueError, match="shapes differ"):
        over_planes(loss, volume((1, 8, 8)), volume((1, 8, 9)), slices=1, smallest=4)
    with pytest.raises(ValueError, match="space axes"):
        over_planes(loss, volume((1, 8)), volume((1, 8)), slices=1, smallest=4)
    with pytest.raises(ValueError, match="smaller than 4"):
        over_planes(loss, volume((1, 3, 3, 9)), volume((1, 3, 3, 9)), slices=1, smallest=4)


@pytest.mark.parametrize(
    ("space", "folded"),
    [
        ((20, 30), (2, 20, 30, 1)),
        ((9, 30), (2, 9, 30, 1)),
        ((12, 20, 30), (2, 12, 20, 30, 1)),
        ((8, 20, 30), (16, 20, 30, 1)),
        ((5, 12, 20, 30), (10, 12, 20, 30, 1)),
        ((5, 8, 20, 30), (80, 20, 30, 1)),
    ],
)
def test_short_axes_and_times_join_the_batch(space, folded):
    assert fold_short(jnp.zeros((2, *space, 1)), 11).shape == folded


def test_soft_clip_is_the_identity_inside_and_smooth_and_rising_outside():
    x = np.linspace(-9, 9, 3601, dtype=np.float32)
    y = np.asarray(jax.jit(soft_clip)(x))
    inside = (x >= -0.1) & (x <= 1.1)
    np.testing.assert_array_equal(y[inside], x[inside])
    slope = np.asarray(jax.jit(jax.vmap(jax.grad(soft_clip)))(x))
    assert (slope > 0).all() and (slope <= 1).all()
    # The slope of log(1 + e/w) bends by 1/w at most, and nowhere jumps.
    assert np.abs(np.diff(slope)).max() < 0.005 / 0.12 * 1.01
    assert float(soft_clip(jnp.float32(8))) == pytest.approx(1.1 + 0.12 * np.log(1 + 6.9 / 0.12))
