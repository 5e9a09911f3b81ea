"""Normalisation against its formula, upsampling against its own definition, initial variance."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.blocks import ConvUnit, Normalise, ResidualBlock, Upsample, spatial_dims

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def test_instance_norm_makes_each_image_independent_and_batch_norm_does_not():
    x = noise(3, 8, 8, 2)
    for norm, independent in (("instance", True), ("batch", False)):
        layer = Normalise(norm)
        y, variables = layer.init_with_output(jax.random.key(0), x, train=True)
        alone, _ = layer.apply(variables, x[:1], train=True, mutable=["batch_stats"])
        assert (jnp.abs(y[:1] - alone).max() < 1e-5) == independent
        axes = (1, 2) if independent else (0, 1, 2)
        expected = (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
        np.testing.assert_allclose(y, expected, atol=1e-4)


def test_batch_norm_is_that_of_flax():
    """Normalise against Flax's layer from the same variables; test_norm.py has the gradients."""
    x = 2 * noise(4, 8, 8, 3) + 1
    layer, flax = Normalise("batch"), nn.BatchNorm(use_running_average=False, momentum=0.9)
    variables = layer.init(jax.random.key(0), x, train=True)
    theirs = {group: values["BatchNorm_0"] for group, values in variables.items()}
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(
        jnp.shape, flax.init(jax.random.key(0), x)
    )
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    want, moved = flax.apply(theirs, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, want, atol=1e-5)  # pyright: ignore
    for ours, wanted in zip(jax.tree.leaves(updated), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_batch_norm_running_statistics_follow_the_batch_and_serve_evaluation():
    x = 2 * noise(4, 8, 8, 2) + 1
    layer = Normalise("batch")
    variables = layer.init(jax.random.key(0), x, train=True)
    _, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    (statistics,) = updated["batch_stats"].values()
    np.testing.assert_allclose(statistics["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)
    y = layer.apply({**variables, **updated}, x, train=False)
    expected = (x - statistics["mean"]) / jnp.sqrt(statistics["var"])
    np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize(("mode", "dims"), [("transpose", 2), ("transpose", 3), ("nearest", 2)])
def test_upsampling_doubles_every_dimension_and_keeps_the_scale(mode, dims):
    x = noise(2, *(6,) * dims, 8)
    run = quick(Upsample(8, mode).init_with_output, static_argnames="train")
    y, _ = run(jax.random.key(0), x, train=True)
    assert y.shape == (2, *(12,) * dims, 8)
    # He initialisation keeps the mean square of unit noise through a LeakyReLU.
    if mode == "transpose":
        np.testing.assert_allclose(jnp.mean(jnp.square(y)), 1, rtol=0.35)


def test_blocks_keep_the_scale_and_start_near_the_identity():
    x = noise(2, 16, 16, 32)
    y, _ = ConvUnit(32).init_with_output(jax.random.key(0), x, train=True)
    np.testing.assert_allclose(jnp.mean(jnp.square(y)), 1, rtol=0.25)
    y, _ = ResidualBlock().init_with_output(jax.random.key(0), x, train=True)
    assert 0 < jnp.mean(jnp.square(y - x)) < 0.3


def test_strides_halve_and_other_ranks_are_refused():
    y, _ = ConvUnit(2, stride=2).init_with_output(jax.random.key(0), noise(1, 8, 6, 1), train=True)
    assert y.shape == (1, 4, 3, 2)
    assert [spatial_dims(noise(1, *(2,) * n, 1)) for n in (2, 3, 4)] == [2, 3, 4]
    with pytest.raises(ValueError, match="2, 3 or 4 spatial"):
        spatial_dims(noise(1, 2, 1))
