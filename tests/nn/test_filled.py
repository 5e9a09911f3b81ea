"""Channels filled up with zeros: the same numbers as from sliding windows in NumPy."""

import jax
import numpy as np
import pytest

from medjax.nn import fold
from medjax.nn.filled import filled, quick_channels, quick_features
from medjax.nn.geometry import Geometry
from medjax.nn.weight_convolution import convolved_weight_gradient

SAME = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def windows(x):
    """[batch, y, x, channel, 3, 3], in float64, zeros outside."""
    padded = np.pad(np.asarray(x, np.float64), [(0, 0), (1, 1), (1, 1), (0, 0)])
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))


# Features filled, channels filled to an even number and to a multiple of four, both, neither.
CHANNELS = [(4, 26), (3, 24), (21, 40), (17, 13), (13, 50), (16, 64)]


@pytest.mark.parametrize(("channels", "features"), CHANNELS)
def test_convolutions_are_the_same(channels, features):
    x, kernel = noise(0, 2, 5, 6, channels), noise(1, 3, 3, channels, features)
    wanted = np.einsum("byxcij,ijcf->byxf", windows(x), np.asarray(kernel, np.float64))
    found = jax.jit(fold.forward, static_argnums=(2, 3))(x, kernel, SAME, 2)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "features"), CHANNELS)
def test_weight_gradients_are_the_same(channels, features):
    x, dy = noise(0, 3, 5, 6, channels), noise(1, 3, 5, 6, features)
    wanted = np.einsum("byxcij,byxf->ijcf", windows(x), np.asarray(dy, np.float64))
    found = jax.jit(convolved_weight_gradient, static_argnums=(2, 3))(x, dy, SAME, (3, 3))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_only_zeros_are_added():
    x, kernel = noise(0, 1, 2, 2, 17), noise(1, 3, 3, 17, 26)
    wide_x, wide = filled(x, kernel)
    assert wide_x.shape == (1, 2, 2, 18)
    assert wide.shape == (3, 3, 18, 32)
    np.testing.assert_array_equal(wide_x[..., :17], x)
    np.testing.assert_array_equal(wide[..., :17, :26], kernel)
    assert not wide_x[..., 17:].any()
    assert not wide[..., 17:, :].any()
    assert not wide[..., 26:].any()


def test_quick_numbers_stay_as_they_are():
    for features in (1, 6, 8, 16, 24, 32, 48, 64, 72, 96, 128):
        assert quick_features(features) == features
    for channels in (1, 2, 8, 16, 32, 64, 128):
        assert all(quick_channels(channels, n) == channels for n in (8, 24, 48, 64))


def test_no_more_than_three_fifths_is_added_and_nothing_twice():
    for features in range(1, 200):
        wide = quick_features(features)
        assert features <= wide <= 1.6 * features
        assert quick_features(wide) == wide
        for channels in range(1, 200):
            deep = quick_channels(channels, wide)
            assert channels <= deep < channels + 4
            assert quick_channels(deep, wide) == deep
