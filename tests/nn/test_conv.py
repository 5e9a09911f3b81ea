"""Convolutions against `lax` and Flax in values and gradients, over random shapes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from medjax.nn.conv import Conv, ConvTranspose, conv, conv_transpose

tiny = settings(max_examples=12, deadline=None, derandomize=True)


def numbers(n):
    return ("N" + "WXYZ"[:n] + "C", "WXYZ"[:n] + "IO", "N" + "WXYZ"[:n] + "C")


def draw_array(seed, shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def same_values_and_gradients(ours, reference, x, kernel):
    """Values, both gradients, all of them against the reference."""
    y, pull = jax.vjp(jax.jit(ours), x, kernel)
    expected, pull_expected = jax.vjp(jax.jit(reference), x, kernel)
    assert y.shape == expected.shape and y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, atol=2e-5)
    dy = draw_array(7, y.shape)
    for got, want in zip(pull(dy), pull_expected(dy), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


@st.composite
def convolutions(draw, least=1):
    n = draw(st.integers(1, 4))
    per = lambda s: tuple(draw(s) for _ in range(n))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return {
        "n": n,
        "batch": draw(st.integers(1, 2)),
        "space": per(st.integers(1, 7 if n < 3 else 4)),
        "window": per(st.integers(1, 4 if n < 4 else 3)),
        "strides": per(st.integers(1, 3)),
        "dilation": per(st.integers(1, 2)),
        "groups": groups,
        "inputs": groups * draw(st.integers(1, 2)),
        "features": groups * draw(st.integers(1, 2)),
        "padding": draw(st.sampled_from(["SAME", "VALID", "numbers"])),
        "pads": per(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    }


@tiny
@given(convolutions())
def test_conv_is_lax(c):
    padding = c["pads"] if c["padding"] == "numbers" else c["padding"]
    x = draw_array(0, (c["batch"], *c["space"], c["inputs"]))
    kernel = draw_array(1, (*c["window"], c["inputs"] // c["groups"], c["features"]))
    same_values_and_gradients(
        lambda x, k: conv(x, k, c["strides"], padding, c["dilation"], c["groups"]),
        lambda x, k: lax.conv_general_dilated(
            x,
            k,
            c["strides"],
            padding,
            rhs_dilation=c["dilation"],
            dimension_numbers=numbers(c["n"]),
            feature_group_count=c["groups"],
        ),
        x,
        kernel,
    )


@tiny
@given(convolutions(), st.booleans())
def test_conv_transpose_is_lax(c, transpose_kernel):
    padding = c["pads"] if c["padding"] == "numbers" else c["padding"]
    x = draw_array(0, (c["batch"], *c["space"], c["inputs"]))
    ends = (c["features"], c["inputs"]) if transpose_kernel else (c["inputs"], c["features"])
    kernel = draw_array(1, (*c["window"], *ends))
    same_values_and_gradients(
        lambda x, k: conv_transpose(
            x, k, c["strides"], padding, c["dilation"], transpose_kernel=transpose_kernel
        ),
        lambda x, k: lax.conv_transpose(
            x,
            k,
            c["strides"],
            padding,
            c["dilation"],
            dimension_numbers=numbers(c["n"]),
            transpose_kernel=transpose_kernel,
        ),
        x,
        kernel,
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", 1, (1, (0, 2))])
def test_conv_module_is_flax(padding):
    args = {"features": 4, "kernel_size": (3, 4), "strides": (2, 1), "padding": padding}
    args |= {"kernel_dilation": (1, 2), "feature_group_count": 2}
    x = draw_array(0, (2, 3, 9, 8, 6))
    theirs = nn.Conv(**args).init_with_output(jax.random.key(3), x)
    ours = Conv(**args).init_with_output(jax.random.key(3), x)
    jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=2e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", 2])
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_conv_transpose_module_is_flax(padding, transpose_kernel):
    args = {"features": 3, "kernel_size": (3, 4), "strides": (2, 3), "padding": padding}
    args["transpose_kernel"] = transpose_kernel
    x = draw_array(0, (2, 4, 5, 2))
    theirs = nn.ConvTranspose(**args).init_with_output(jax.random.key(3), x)
    ours = ConvTranspose(**args).init_with_output(jax.random.key(3), x)
    jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=2e-5)
