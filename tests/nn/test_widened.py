"""Several outputs at once against sliding windows in NumPy."""

import jax
import numpy as np
import pytest

from medjax.nn import fold
from medjax.nn.geometry import Geometry
from medjax.nn.widened import neighbours, widened


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def slid(x, kernel, geometry):
    """Windows of the padded input times the kernel, in float64."""
    x, kernel = (np.asarray(a, np.float64) for a in (x, kernel))
    x = np.pad(x, [(0, 0), *geometry.pads, (0, 0)])
    n = kernel.ndim - 2
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:n], range(1, n + 1))
    windows = windows[:, *(slice(None, None, s) for s in geometry.strides)]
    return np.tensordot(windows, kernel, ([n + 1, *range(n + 2, 2 * n + 2)], [n, *range(n)]))


CASES = {
    "four at once": ((5, 8), (3, 3), 2, 3, Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))),
    "two at once": ((5, 6), (3, 3), 2, 3, Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))),
    "without padding, two at once": (
        (7, 12),
        (5, 5),
        3,
        9,
        Geometry((1, 1), ((0, 0),) * 2, (1, 1)),
    ),
    "one at once": ((4, 7), (3, 3), 2, 3, Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))),
    "strided rows": ((6, 8), (4, 3), 1, 2, Geometry((2, 1), ((1, 0), (2, 0)), (1, 1))),
    "1-D": ((8,), (3,), 2, 2, Geometry((1,), ((1, 1),), (1,))),
    "3-D": ((3, 4, 8), (3, 3, 3), 2, 7, Geometry((1, 1, 1), ((1, 1),) * 3, (1, 1, 1))),
}


@pytest.mark.parametrize("name", CASES)
def test_convolutions_of_few_channels(name):
    space, window, channels, features, geometry = CASES[name]
    x, kernel = noise(0, 2, *space, channels), noise(1, *window, channels, features)
    wanted = slid(x, kernel, geometry)
    found = jax.jit(fold.forward, static_argnums=(2, 3))(x, kernel, geometry, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_window_finds_neighbours(count):
    space, window, channels, features, geometry = CASES["four at once"]
    x, kernel = noise(0, 2, *space, channels), noise(1, *window, channels, features)
    wide, steps = widened(kernel, count, geometry)
    assert wide.shape == (3, 3 + count - 1, channels, count * features)
    found = slid(x, wide, steps).reshape(2, *space, features)
    np.testing.assert_allclose(found, slid(x, kernel, geometry), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "features", "width", "count"),
    [
        (8, 8, 64, 4),
        (8, 8, 62, 2),
        (16, 16, 64, 2),
        (16, 16, 63, 1),
        (24, 8, 64, 1),
        (16, 1, 64, 1),
    ],
)
def test_how_many_is_chosen_as_it_was_measured(channels, features, width, count):
    plain = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
    assert neighbours(channels, features, width, plain) == count
    for other in (Geometry((1, 2), plain.pads, (1, 1)), Geometry((1, 1), plain.pads, (1, 2))):
        assert neighbours(channels, features, width, other) == 1
