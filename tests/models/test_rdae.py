"""The residual dense autoencoder's connections, counts and identity; the plain one beside it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.autoencoder import Autoencoder, AutoencoderConfig, matching
from medjax.models.cnn10 import CNN10Config
from medjax.models.rdae import RDAE, RDAEConfig, ResidualDenseBlock
from medjax.models.size import parameter_count, with_parameters
from medjax.models.unet import UNetConfig

SMALL = RDAEConfig(width=4, growth=2, layers=3, blocks=1, depth=2)

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def convs(params) -> list[tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [tuple(leaf.shape) for path, leaf in leaves if "kernel" in str(path[-1])]


@pytest.mark.parametrize("shape", [(1, 13, 10, 2), (1, 5, 1, 6, 2), (1, 3, 5, 1, 2, 2)])
def test_any_size_in_2_3_and_4_dimensions_and_identity_at_the_start(shape):
    x = noise(*shape)
    config = RDAEConfig(width=2, growth=1, layers=2, blocks=1, depth=1)
    restored, variables = quick(RDAE(config).init_with_output)(jax.random.key(0), x)
    assert restored.dtype == jnp.float32
    np.testing.assert_array_equal(restored, x[..., :1])
    kernels = {leaf.ndim for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1}
    assert kernels == {len(shape)}


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_block_has_a_connection_for_every_pair_and_each_one_counts(layers):
    width, growth = 6, 4
    x = noise(1, 6, 6, width)
    block = ResidualDenseBlock(growth, layers)
    variables = quick(block.init, static_argnames="train")(jax.random.key(0), x, train=True)

    def loss(params):
        return jnp.sum(jnp.square(block.apply({"params": params}, x, train=True)))  # pyright: ignore

    gradient = quick(jax.grad(loss))(variables["params"])
    connections = 0
    for layer in range(layers):
        kernel = gradient[f"ConvUnit_{layer}"]["Conv_0"]["kernel"]
        assert kernel.shape == (3, 3, width + layer * growth, growth)
        sources = jnp.split(kernel, [width + i * growth for i in range(layer)], axis=2)
        connections += sum(bool(jnp.abs(source).max() > 0) for source in sources)
    assert connections == layers * (layers + 1) // 2
    # Local fusion sees the block's input and every layer.
    fusion = gradient["Conv_0"]["kernel"]
    assert fusion.shape == (1, 1, width + layers * growth, width)
    assert jnp.abs(fusion).sum((0, 1, 3)).min() > 0


def test_a_block_adds_to_its_input():
    x = noise(1, 6, 6, 4)
    block = ResidualDenseBlock(2, 2)
    made = jax.eval_shape(functools.partial(block.init, train=True), jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), made["params"])
    apply = quick(functools.partial(block.apply, train=True))
    assert jnp.abs(apply({"params": params}, x) - x).min() > 0
    silent = {**params, "Conv_0": jax.tree.map(jnp.zeros_like, params["Conv_0"])}
    np.testing.assert_array_equal(apply({"params": silent}, x), x)


def test_convolutions_are_those_of_the_description():
    params = jax.eval_shape(RDAE(SMALL).init, jax.random.key(0), noise(1, 8, 8, 2))["params"]

    def block(width, growth):
        layers = [(3, 3, width + i * growth, growth) for i in range(3)]
        return [*layers, (1, 1, width + 3 * growth, width)]

    expected = [
        *((3, 3, 2, 4), (3, 3, 4, 4)),  # shallow features
        *block(4, 2),
        (3, 3, 4, 8),
        *block(8, 4),
        (3, 3, 8, 16),
        *block(16, 8),  # the bottleneck
        *((4, 4, 16, 8), (1, 1, 16, 8)),  # up, and fused with the block of that scale
        *block(8, 4),
        *((4, 4, 8, 4), (1, 1, 8, 4)),
        *block(4, 2),
        *((1, 1, 8, 4), (3, 3, 4, 4)),  # global fusion
        (3, 3, 4, 1),
    ]
    assert sorted(convs(params)) == sorted(expected)


def test_every_parameter_learns():
    x, clean = noise(2, 8, 8, 2), noise(2, 8, 8, 1)
    net = RDAE(RDAEConfig(width=4, growth=2, layers=2, blocks=1, depth=1))
    params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    # The last convolution starts at zero, behind which nothing would learn.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 0.1, p.shape), p.dtype), params)

    def loss(params):
        return jnp.mean(jnp.square(net.apply({"params": params}, x) - clean))  # pyright: ignore

    for path, leaf in jax.tree_util.tree_leaves_with_path(quick(jax.grad(loss))(params)):
        assert jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_bfloat16_answers_in_float32_from_float32_parameters():
    config = RDAEConfig(width=4, growth=2, layers=2, blocks=1, depth=1, dtype="bfloat16")
    made = jax.eval_shape(RDAE(config).init_with_output, jax.random.key(0), noise(1, 8, 8, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("field", ["width", "growth", "layers", "blocks", "out_channels"])
def test_sizes_below_one_are_refused(field):
    with pytest.raises(ValueError, match=re.escape(f"RDAEConfig.{field}")):
        RDAEConfig(**{field: 0})
    with pytest.raises(ValueError, match="depth"):
        AutoencoderConfig(depth=-1)


# The plain autoencoder


@pytest.mark.parametrize("shape", [(1, 13, 10, 2), (1, 5, 1, 6, 2), (1, 3, 5, 1, 2, 2)])
def test_autoencoder_takes_any_size(shape):
    config = AutoencoderConfig(width=2, depth=1, convs_per_level=1)
    out, _ = quick(Autoencoder(config).init_with_output)(jax.random.key(0), noise(*shape))
    assert out.shape == (*shape[:-1], 1) and out.dtype == jnp.float32


def test_all_of_the_image_passes_the_bottleneck():
    config = AutoencoderConfig(width=2, depth=1, convs_per_level=2)
    net, x = Autoencoder(config), noise(1, 8, 8, 1)
    params = quick(net.init)(jax.random.key(0), x)["params"]
    # Cut at the first convolution of the bottleneck: nothing of the input is left.
    assert params["ConvUnit_2"]["Conv_0"]["kernel"].shape == (3, 3, 2, 4)
    cut = {**params, "ConvUnit_2": jax.tree.map(jnp.zeros_like, params["ConvUnit_2"])}
    apply = quick(net.apply)
    np.testing.assert_array_equal(apply({"params": cut}, x), apply({"params": cut}, 5 * x + 1))
    assert jnp.abs(apply({"params": params}, x) - apply({"params": params}, 5 * x + 1)).max() > 0.1


@pytest.mark.parametrize(
    ("rdae", "dims"),
    [
        (RDAEConfig(), 2),
        (RDAEConfig(width=16, growth=8, layers=3, blocks=1, depth=3), 2),
        (RDAEConfig(width=16, growth=12, layers=4, blocks=1, depth=1), 3),
    ],
)
def test_matching_has_the_parameters_of_the_dense_one(rdae, dims):
    plain = matching(rdae, dims=dims)
    want = parameter_count(rdae, dims=dims, channels=2)
    assert abs(parameter_count(plain, dims=dims, channels=2) / want - 1) < 0.05
    assert plain.depth == rdae.depth
    for width in (plain.width - 1, plain.width + 1):  # no neighbour is nearer
        other = AutoencoderConfig(width, plain.depth, plain.convs_per_level)
        distance = abs(parameter_count(other, dims=dims, channels=2) - want)
        assert distance >= abs(parameter_count(plain, dims=dims, channels=2) - want)


def test_sizes_are_counted_and_chosen():
    config = AutoencoderConfig(width=3, depth=1, convs_per_level=1)
    # 2 to 3 to 6 channels, up to 3, a convolution, the last.
    by_hand = (9 * 2 + 1) * 3 + (9 * 3 + 1) * 6 + (16 * 6 + 1) * 3 + (9 * 3 + 1) * 3 + 9 * 3 + 1
    assert parameter_count(config, channels=2) == by_hand
    assert with_parameters(AutoencoderConfig(9, 1, 1), by_hand, channels=2) == config
    assert with_parameters(config, 1).width == 1
    factorised = with_parameters(UNetConfig(8, 1, factorised=True, max_width=64), 40_000, dims=4)
    assert abs(parameter_count(factorised, dims=4) / 40_000 - 1) < 0.15
    with pytest.raises(ValueError, match="no width"):
        with_parameters(CNN10Config(), 10)
