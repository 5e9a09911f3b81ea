"""Both ways to the weight gradient against sums of products in NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.nn.geometry import Geometry
from medjax.nn.weight_convolution import (
    convolved_weight_gradient,
    exchange_pays,
    faster_on_cpu,
)
from medjax.nn.weight_gradient import blocked_weight_gradient

WAYS = (convolved_weight_gradient, blocked_weight_gradient)


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def reference(x, dy, geometry, window):
    """By tap: the shifted input and the gradient multiplied and added up, in float64."""
    x, dy = (np.asarray(a, np.float64) for a in (x, dy))
    low = [max(0, lo) for lo, _ in geometry.pads]
    high = [max(0, hi) + 8 for _, hi in geometry.pads]
    wide = np.pad(x, [(0, 0), *zip(low, high, strict=True), (0, 0)])
    taps = np.zeros((*window, x.shape[-1], dy.shape[-1]))
    for tap in np.ndindex(*window):
        starts = [
            t * d + pad - lo
            for t, d, pad, (lo, _) in zip(tap, geometry.dilation, low, geometry.pads, strict=True)
        ]
        cut = tuple(
            slice(a, a + (n - 1) * s + 1, s)
            for a, n, s in zip(starts, dy.shape[1:-1], geometry.strides, strict=True)
        )
        taps[tap] = np.tensordot(
            wide[(slice(None), *cut)], dy, (range(x.ndim - 1), range(dy.ndim - 1))
        )
    return taps


CASES = {
    "1-D": ((9,), (3,), Geometry((1,), ((1, 1),), (1,))),
    "valid 5x5": ((9, 8), (5, 5), Geometry((1, 1), ((0, 0), (0, 0)), (1, 1))),
    "same": ((6, 7), (3, 3), Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))),
    "strided, last samples unused": ((8, 6), (4, 3), Geometry((2, 3), ((1, 0), (0, 0)), (1, 1))),
    "dilated": ((9, 9), (3, 2), Geometry((1, 1), ((2, 2), (0, 1)), (2, 3))),
    "cropped": ((9, 9), (3, 3), Geometry((1, 2), ((-1, -2), (1, -1)), (1, 1))),
    "3-D": ((5, 6, 4), (3, 3, 3), Geometry((1, 1, 1), ((1, 1),) * 3, (1, 1, 1))),
    "3-D, strided": ((6, 5, 6), (4, 4, 4), Geometry((2, 2, 2), ((1, 1),) * 3, (1, 1, 1))),
    "3-D, cropped": ((6, 5, 5), (3, 1, 2), Geometry((2, 1, 1), ((-1, 0),) * 3, (1, 1, 2))),
}


@pytest.mark.parametrize("name", CASES)
def test_both_ways_are_the_gradient(name):
    space, window, geometry = CASES[name]
    x = noise(0, 2, *space, 3)
    dy = noise(1, 2, *geometry.out_space(space, window), 2)
    wanted = reference(x, dy, geometry, window)
    for way in WAYS:
        found = jax.jit(way, static_argnums=(2, 3))(x, dy, geometry, window)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_reference_is_the_gradient_of_a_convolution():
    space, window, geometry = CASES["dilated"]
    x, dy = noise(0, 2, *space, 3), noise(1, 2, *geometry.out_space(space, window), 2)

    def product(kernel):
        y = lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            geometry.pads,
            rhs_dilation=geometry.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jnp.vdot(y, dy)

    wanted = jax.grad(product)(jnp.zeros((*window, 3, 2)))
    np.testing.assert_allclose(reference(x, dy, geometry, window), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "dy", "taps", "expected"),
    [
        ((8, 64, 64, 16), (8, 60, 60, 16), 5, True),
        ((8, 64, 64, 16), (8, 64, 64, 16), 1, False),
        ((2, 24, 40, 40, 8), (2, 24, 40, 40, 8), 1, False),
        ((2, 24, 40, 40, 8), (2, 22, 38, 38, 8), 3, True),
        ((4, 128, 128, 128), (4, 126, 126, 128), 3, False),
        ((4, 64, 64, 24), (4, 62, 62, 1), 3, True),
        ((4, 64, 64, 4), (4, 62, 62, 1), 3, False),
        ((8, 64, 64, 12), (8, 62, 62, 6), 3, True),
        ((8, 64, 64, 32), (8, 62, 62, 16), 3, False),
        ((8, 64, 64, 32), (8, 62, 62, 17), 3, True),
        ((2, 12, 20, 20, 16), (2, 10, 18, 18, 8), 3, True),
        ((4, 64, 64, 4), (4, 62, 62, 4), 3, False),
        ((1, 64, 64, 16), (1, 62, 62, 16), 3, False),
        ((2, 8, 6, 24, 24, 8), (2, 6, 4, 22, 22, 8), 3, False),
    ],
)
def test_the_way_is_chosen_as_it_was_measured(x, dy, taps, expected):
    n = len(x) - 2
    geometry = Geometry((1,) * n, ((0, 0),) * n, (1,) * n)
    given, gradient = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, dy))
    assert faster_on_cpu(given, gradient, geometry, (taps,) * n) is expected


EXCHANGED = ("1-D", "valid 5x5", "same", "dilated", "3-D")


@pytest.mark.parametrize("name", EXCHANGED)
@pytest.mark.parametrize(("channels", "features"), [(6, 3), (5, 1)])
def test_input_and_gradient_exchanged_are_the_gradient_too(name, channels, features):
    space, window, geometry = CASES[name]
    x = noise(0, 2, *space, channels)
    dy = noise(1, 2, *geometry.out_space(space, window), features)
    assert exchange_pays(x, dy, geometry)
    found = jax.jit(convolved_weight_gradient, static_argnums=(2, 3))(x, dy, geometry, window)
    wanted = reference(x, dy, geometry, window)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_only_strides_of_one_and_few_features_are_exchanged():
    def pays(channels, features, stride=1):
        geometry = Geometry((1, stride), ((1, 1), (1, 1)), (1, 1))
        return exchange_pays(noise(0, 1, 4, 4, channels), noise(1, 1, 4, 4, features), geometry)

    assert pays(16, 8) and pays(12, 6) and pays(64, 1) and pays(64, 2)
    assert not pays(64, 1, stride=2)
    assert not pays(15, 8)
    assert not pays(32, 16)


@pytest.mark.parametrize(("channels", "features"), [(6, 3), (3, 6)])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_no_window_is_larger_than_what_it_slides_over(channels, features, pad):
    geometry = Geometry((1, 1), ((pad, pad),) * 2, (1, 1))
    x = noise(0, 2, 12, 12, channels)
    dy = noise(1, 2, *geometry.out_space((12, 12), (5, 5)), features)
    found = jax.make_jaxpr(convolved_weight_gradient, static_argnums=(2, 3))(
        x, dy, geometry, (5, 5)
    )
    shapes = [
        [v.aval.shape for v in equation.invars]
        for equation in found.jaxpr.eqns
        if equation.primitive is lax.conv_general_dilated_p
    ]
    ((slid, window),) = shapes
    assert all(w <= s for w, s in zip(window[:2], slid[1:3], strict=True))
    dkernel = convolved_weight_gradient(x, dy, geometry, (5, 5))
    wanted = reference(x, dy, geometry, (5, 5))
    np.testing.assert_allclose(dkernel, wanted, rtol=1e-4, atol=1e-4)


def test_within_a_loop_dimensions_come_in_the_order_for_which_cpus_have_a_fast_kernel():
    x, dy = noise(0, 2, 8, 8, 3), noise(1, 2, 8, 8, 16)
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))

    def body(total, _):
        return total + convolved_weight_gradient(x * total[0, 0, 0, 0], dy, geometry, (3, 3)), None

    looped = jax.jit(lambda total: lax.scan(body, total, None, length=3)[0])
    compiled = looped.lower(jnp.ones((3, 3, 3, 16))).compile().as_text()
    orders = re.findall(r" convolution\(.*dim_labels=([\w>-]+)", compiled)
    assert orders and set(orders) == {"b01f_01io->b01f"}
