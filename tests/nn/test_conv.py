"""Convolutions against `lax` and Flax in values and gradients, over random shapes."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from medjax.nn.conv import Conv, ConvTranspose, conv, conv_transpose

tiny = settings(max_examples=30, deadline=None, derandomize=True)
# Compiling takes most of the time here.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def numbers(n):
    return ("N" + "WXYZ"[:n] + "C", "WXYZ"[:n] + "IO", "N" + "WXYZ"[:n] + "C")


def draw_array(seed, shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32), dtype)


def same_values_and_gradients(ours, reference, x, kernel):
    """Values and both gradients against the reference, compiled as one program."""
    out = jax.eval_shape(reference, x, kernel)
    dy = draw_array(7, out.shape)

    @quick
    def both(x, kernel, dy):
        results = []
        for product in (ours, reference):
            y, pull = jax.vjp(product, x, kernel)
            results.append((y, *pull(dy)))
        return results

    for got, want in zip(*both(x, kernel, dy), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=1e-5)


@st.composite
def convolutions(draw):
    """Geometry, with sizes from 1 on, so that windows may be larger than the image."""
    n = draw(st.integers(1, 4))

    def per(values):
        return tuple(draw(values) for _ in range(n))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    pads = per(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    return {
        "n": n,
        "batch": draw(st.integers(1, 2)),
        "space": per(st.integers(1, 9 if n < 3 else 4)),
        "window": per(st.integers(1, 5 if n < 3 else 3)),
        "strides": per(st.integers(1, 3)),
        "dilation": per(st.integers(1, 2)),
        "groups": groups,
        "inputs": groups * draw(st.sampled_from([1, 2, 6])),
        "features": groups * draw(st.sampled_from([1, 2, 5])),
        "padding": draw(st.sampled_from(["SAME", "VALID", pads])),
    }


def ramps(c, transposed_ends=False):
    ends = (c["inputs"] // c["groups"], c["features"])
    x = draw_array(0, (c["batch"], *c["space"], c["inputs"]))
    return x, draw_array(1, (*c["window"], *(ends[::-1] if transposed_ends else ends)))


@tiny
@given(convolutions())
def test_conv_is_lax(c):
    same_values_and_gradients(
        lambda x, k: conv(x, k, c["strides"], c["padding"], c["dilation"], c["groups"]),
        lambda x, k: lax.conv_general_dilated(
            x,
            k,
            c["strides"],
            c["padding"],
            rhs_dilation=c["dilation"],
            dimension_numbers=numbers(c["n"]),
            feature_group_count=c["groups"],
        ),
        *ramps(c),
    )


@tiny
@given(convolutions(), st.booleans())
def test_conv_transpose_is_lax(c, transpose_kernel):
    c["groups"] = 1
    same_values_and_gradients(
        lambda x, k: conv_transpose(
            x, k, c["strides"], c["padding"], c["dilation"], transpose_kernel=transpose_kernel
        ),
        lambda x, k: lax.conv_transpose(
            x,
            k,
            c["strides"],
            c["padding"],
            c["dilation"],
            dimension_numbers=numbers(c["n"]),
            transpose_kernel=transpose_kernel,
        ),
        *ramps(c, transpose_kernel),
    )


def test_grouped_conv_transpose_is_a_dilated_convolution():
    x, kernel = draw_array(0, (2, 4, 5, 6)), draw_array(1, (4, 3, 2, 9))
    pads = ((2, 2), (1, 2))
    same_values_and_gradients(
        lambda x, k: conv_transpose(x, k, 2, pads, groups=3),
        lambda x, k: lax.conv_general_dilated(
            x, k, (1, 1), pads, (2, 2), None, numbers(2), feature_group_count=3
        ),
        x,
        kernel,
    )


def test_negative_padding_crops():
    x, kernel = draw_array(0, (2, 2, 5, 4)), draw_array(1, (2, 3, 4, 1))
    same_values_and_gradients(
        lambda x, k: conv(x, k, padding=((-1, 1), (2, -2))),
        lambda x, k: lax.conv_general_dilated(
            jnp.pad(x[:, 1:, :3], [(0, 0), (0, 1), (2, 0), (0, 0)]),
            k,
            (1, 1),
            "VALID",
            dimension_numbers=numbers(2),
        ),
        x,
        kernel,
    )


# Every way to fold a dimension: few features, fewer features than channels, more, strided.
FOLDS = [(6, 1, 1), (12, 6, 1), (2, 4, 1), (4, 4, 2)]


@pytest.mark.parametrize(("channels", "features", "stride"), FOLDS)
@pytest.mark.parametrize("n", [3, 4])
def test_folded_convolution_is_lax(n, channels, features, stride):
    x = draw_array(0, (2, *(6, 5, 4, 4)[:n], channels))
    kernel = draw_array(1, (*(3,) * n, channels, features))
    same_values_and_gradients(
        lambda x, k: conv(x, k, stride),
        lambda x, k: lax.conv_general_dilated(
            x, k, (stride,) * n, "SAME", dimension_numbers=numbers(n)
        ),
        x,
        kernel,
    )


@pytest.mark.parametrize("groups", [1, 2, 16])
def test_weight_gradient_over_many_blocks(groups):
    """Large enough that the walk takes several blocks, with a ragged end."""
    x, kernel = draw_array(0, (2, 67, 97, 16)), draw_array(1, (3, 3, 16 // groups, 16))
    same_values_and_gradients(
        lambda x, k: conv(x, k, groups=groups),
        lambda x, k: lax.conv_general_dilated(
            x,
            k,
            (1, 1),
            "SAME",
            dimension_numbers=numbers(2),
            feature_group_count=groups,
            precision="highest",
        ),
        x / 30,
        kernel,
    )


@pytest.mark.parametrize(("padding", "mode"), [("EDGE", "edge"), ("REFLECT", "reflect")])
def test_padding_by_edge_and_reflection(padding, mode):
    x, kernel = draw_array(0, (2, 6, 7, 3)), draw_array(1, (4, 3, 3, 2))

    def padded(x, k):
        x = jnp.pad(x, [(0, 0), (1, 2), (2, 2), (0, 0)], mode)
        return lax.conv_general_dilated(
            x, k, (1, 1), "VALID", rhs_dilation=(1, 2), dimension_numbers=numbers(2)
        )

    same_values_and_gradients(
        lambda x, k: conv(x, k, padding=padding, dilation=(1, 2)), padded, x, kernel
    )


def test_second_derivatives_and_vmap():
    """The Hessian's product with a vector, and a kernel for each example, against `lax`."""
    x, kernel = draw_array(0, (2, 2, 5, 4, 3)), draw_array(1, (2, 3, 3, 3, 2))

    def stock(x, k):
        return lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=numbers(2))

    def product(convolve):
        def loss(x, k):
            return jnp.sum(convolve(x, k) ** 3)

        def slope(x, k):
            dx, dk = jax.grad(loss, (0, 1))(x, k)
            return jnp.sum(dx**2) + jnp.sum(jnp.sin(dk))

        return jax.jit(jax.vmap(jax.grad(slope, (0, 1))))(x / 4, kernel / 4)

    expected = product(stock)
    for got, want in zip(product(lambda x, k: conv(x, k, 2)), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_batch_split_over_devices():
    """GSPMD with the batch on 8 devices gives the numbers of one device."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x, kernel = draw_array(0, (8, 6, 6, 6, 2)), draw_array(1, (4, 4, 4, 2, 2))

    @jax.jit
    def step(x, k):
        return jax.value_and_grad(lambda k: jnp.sum(jnp.tanh(conv(conv_transpose(x, k, 2), k, 2))))(
            k
        )

    alone = step(x, kernel)
    together = step(jax.device_put(x, split), kernel)
    for got, want in zip(together, alone, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_half_precision_is_rounded_once():
    x = draw_array(0, (1, 5, 6, 7, 4), jnp.bfloat16)
    kernel = draw_array(1, (3, 3, 3, 4, 2), jnp.bfloat16)
    exact = lax.conv_general_dilated(
        x.astype(jnp.float32),
        kernel.astype(jnp.float32),
        (1, 1, 1),
        "SAME",
        dimension_numbers=numbers(3),
        precision="highest",
    )
    y = conv(x, kernel)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)
    layer = Conv(3, (3, 3), dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def lowered_for_cuda(n):
    x, kernel = jnp.ones((1, *(4,) * n, 2)), jnp.ones((*(3,) * n, 2, 2))

    def gradients(x, k):
        return jax.grad(lambda x, k: jnp.sum(conv(x, k) ** 2), (0, 1))(x, k)

    return jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()


def test_gpu_keeps_stock_convolutions_and_folds_four_dimensions():
    stock = lowered_for_cuda(3)
    assert stock.count("stablehlo.convolution(") == 3
    assert "stablehlo.while" not in stock
    folded = lowered_for_cuda(4)
    ranks = re.findall(r"stablehlo.convolution\(.*-> tensor<(\d+(?:x\d+)*)xf32>", folded)
    assert ranks and all(len(shape.split("x")) <= 5 for shape in ranks)


def test_mismatches_are_value_errors():
    x = jnp.ones((1, 4, 4, 3))
    with pytest.raises(ValueError, match="channels"):
        conv(x, jnp.ones((3, 3, 2, 4)))
    with pytest.raises(ValueError, match="features"):
        conv(x, jnp.ones((3, 3, 1, 4)), groups=3)
    with pytest.raises(ValueError, match="channels"):
        conv_transpose(x, jnp.ones((3, 3, 2, 4)))
    with pytest.raises(ValueError, match="REFLECT"):
        conv_transpose(x, jnp.ones((3, 3, 3, 4)), padding="REFLECT")
    with pytest.raises(ValueError, match="entries"):
        conv(x, jnp.ones((3, 3, 3, 4)), strides=(1, 1, 1))


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
