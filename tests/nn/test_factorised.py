"""The factorised convolution against the joint one it stands for, and against the paper's sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.blocks import ConvUnit, ResidualBlock, Upsample
from medjax.nn.conv import conv
from medjax.nn.factorised import FactorisedConv, along, equal_width, factors

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("space", [(5, 4), (4, 3, 5), (4, 3, 5, 4)])
def test_without_activation_it_is_the_joint_convolution_of_the_product_of_kernels(space, stride):
    dims = len(space)
    x = noise(0, 2, *space, 3)
    layer = FactorisedConv(5, (3,) * dims, strides=stride, middle=2, between=lambda h: h)
    y, variables = quick(layer.init_with_output)(jax.random.key(1), x)
    over_space, over_time = (variables["params"][f"Conv_{i}"]["kernel"] for i in (0, 1))
    assert over_space.shape == (1, *(3,) * (dims - 1), 3, 2)
    assert over_time.shape == (3, *(1,) * (dims - 1), 2, 5)
    joint = jnp.einsum("...im,tmo->t...io", over_space[0], over_time.reshape(3, 2, 5))
    strides = (1, *(stride,) * (dims - 1))
    wanted = quick(conv, static_argnums=2)(x, joint, strides)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


def test_integer_padding_is_along_every_axis():
    x = noise(0, 1, 6, 5, 1)
    layer = FactorisedConv(2, (3, 3), padding=1)
    y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    assert y.shape == (1, 6, 5, 2)


def test_there_is_an_activation_between_space_and_time():
    x = noise(0, 1, 4, 4, 1)
    run = quick(FactorisedConv(2, (3, 3), use_bias=False).init_with_output)
    # A linear layer would give the negative of its result.
    assert jnp.abs(run(jax.random.key(0), -x)[0] + run(jax.random.key(0), x)[0]).max() > 0.1


@pytest.mark.parametrize("stride", [1, 2])
def test_it_starts_as_a_convolution_of_each_slice_alone(stride):
    x = noise(0, 2, 4, 6, 5, 3)
    y, variables = quick(FactorisedConv(5, (3, 3, 3), stride).init_with_output)(
        jax.random.key(1), x
    )
    kernel = variables["params"]["Conv_0"]["kernel"][0]
    alone = [jax.nn.relu(quick(conv, static_argnums=2)(x[:, t], kernel, stride)) for t in range(4)]
    np.testing.assert_allclose(y, jnp.stack(alone, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [3, 4])
def test_equal_width_brings_the_weights_of_the_joint_convolution(dims):
    inputs, features, window = 32, 48, (3,) * dims
    middle = equal_width(inputs, features, window)
    over_space = 3 ** (dims - 1) * inputs * middle
    joint = 3**dims * inputs * features
    assert over_space + 3 * middle * features <= joint
    assert joint < over_space + 3 * middle * features + 3 ** (dims - 1) * inputs + 3 * features


def test_equal_width_of_the_paper():
    # First block of R(2+1)D-18: 64 to 64 channels, 3x3x3; its authors' code has 144 between.
    assert equal_width(64, 64, (3, 3, 3)) == 144


def test_blocks_factorise():
    x = noise(0, 1, 4, 4, 2, 6, 8)
    for block, shape in (
        (ConvUnit(6, stride=2, factorised=True), (1, 4, 2, 1, 3, 6)),
        (ResidualBlock("batch", factorised=True), x.shape),
        (Upsample(6, factorised=True), (1, 4, 8, 4, 12, 6)),
        (Upsample(6, "nearest", factorised=True), (1, 4, 8, 4, 12, 6)),
    ):
        made = jax.eval_shape(
            lambda x, block=block: block.init_with_output(jax.random.key(0), x, train=True), x
        )
        y, variables = made
        assert y.shape == shape
        kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1]
        spans = {sum(n > 1 for n in kernel.shape[:4]) for kernel in kernels}
        assert spans == ({3} if block == Upsample(6, factorised=True) else {1, 3})


def test_factorised_transposed_convolution_keeps_the_scale():
    x = noise(0, 1, 6, 6, 6, 8)
    run = quick(Upsample(8, factorised=True).init_with_output, static_argnames="train")
    y, _ = run(jax.random.key(0), x, train=True)
    np.testing.assert_allclose(jnp.mean(jnp.square(y)), 1, rtol=0.5)


def test_axes_and_refused_ranks():
    assert factors(4) == ((False, True, True, True), (True, False, False, False))
    assert along((False, True, True), 4) == (1, 4, 4)
    with pytest.raises(ValueError, match="over 1 axes"):
        FactorisedConv(1, (3,)).init(jax.random.key(0), noise(0, 1, 4, 1))
    with pytest.raises(ValueError, match="over 3 axes"):
        FactorisedConv(1, (3, 3, 3)).init(jax.random.key(0), noise(0, 1, 4, 4, 1))
