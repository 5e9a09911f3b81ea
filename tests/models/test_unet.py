"""The U-Net in every dimension: shapes, identity at the start, normalisation, precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.unet import UNet, UNetConfig, pad_to_multiple

SMALL = UNetConfig(width=2, depth=2, convs_per_level=1, norm="none")

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def parameter_count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("shape", [(1, 13, 10, 2), (1, 5, 7, 6, 2), (1, 3, 5, 4, 2, 2)])
def test_any_size_in_2_3_and_4_dimensions_and_identity_at_the_start(shape):
    x = noise(*shape)
    restored, variables = quick(UNet(SMALL).init_with_output)(jax.random.key(0), x)
    assert restored.dtype == jnp.float32
    np.testing.assert_array_equal(restored, x[..., :1])
    kernels = {leaf.ndim for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1}
    assert kernels == {len(shape)}


def test_padding_reflects_at_the_far_end_and_leaves_multiples_alone():
    x = noise(1, 5, 8, 1)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 8, 8, 1)
    np.testing.assert_array_equal(padded, np.pad(x, [(0, 0), (0, 3), (0, 0), (0, 0)], "reflect"))
    assert pad_to_multiple(noise(1, 1, 3, 1), 8).shape == (1, 8, 8, 1)


def test_parameter_count_is_that_of_the_layers():
    config = UNetConfig(width=4, depth=2, convs_per_level=2, full_resolution_blocks=1)
    variables = jax.eval_shape(UNet(config).init, jax.random.key(0), noise(1, 8, 8, 2))

    def unit(inputs: int, outputs: int, taps: int = 9) -> int:
        return taps * inputs * outputs + 2 * outputs  # no bias, scale and shift of the norm

    encoder = unit(2, 4) + unit(4, 4) + unit(4, 8) + unit(8, 8) + unit(8, 16) + unit(16, 16)
    decoder = unit(16, 8, 16) + unit(16, 8) + unit(8, 8) + unit(8, 4, 16) + unit(8, 4) + unit(4, 4)
    head = 2 * unit(4, 4) + 9 * 4 + 1
    assert parameter_count(variables["params"]) == encoder + decoder + head


def test_channels_double_up_to_the_maximum():
    config = UNetConfig(width=4, depth=3, convs_per_level=1, max_width=8)
    variables = jax.eval_shape(UNet(config).init, jax.random.key(0), noise(1, 8, 8, 1))
    features = {leaf.shape[-1] for leaf in jax.tree.leaves(variables["params"])}
    assert features == {1, 4, 8}


@pytest.mark.parametrize(("norm", "upsample"), [("batch", "transpose"), ("instance", "nearest")])
def test_bfloat16_computes_close_to_float32_and_keeps_float32_parameters(norm, upsample):
    x = noise(2, 16, 16, 1)
    config = UNetConfig(4, 1, 1, norm=norm, upsample=upsample, residual=False)
    full, half = UNet(config), UNet(dataclasses.replace(config, dtype="bfloat16"))
    apply = lambda net, v: net.apply(v, x, train=True, mutable=["batch_stats"])  # noqa: E731
    variables = quick(half.init)(jax.random.key(0), x)
    exact, statistics = quick(apply, static_argnums=0)(full, variables)
    rounded, rounded_statistics = quick(apply, static_argnums=0)(half, variables)
    assert rounded.dtype == jnp.float32
    leaves = jax.tree.leaves((variables, rounded_statistics))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert 0 < jnp.abs(rounded - exact).mean() < 0.03 * jnp.abs(exact).mean()
    for a, b in zip(jax.tree.leaves(statistics), jax.tree.leaves(rounded_statistics), strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)


def test_wrong_rank_channels_and_options_are_refused():
    net = UNet(SMALL)
    with pytest.raises(ValueError, match="2, 3 or 4 spatial"):
        jax.eval_shape(net.init, jax.random.key(0), noise(1, 8, 2))
    with pytest.raises(ValueError, match="at least as many input channels"):
        two = UNet(UNetConfig(width=2, depth=1, out_channels=2))
        jax.eval_shape(two.init, jax.random.key(0), noise(1, 8, 8, 1))
    with pytest.raises(ValueError, match="width"):
        UNetConfig(width=0)
    with pytest.raises(ValueError, match="max_width"):
        UNetConfig(width=32, max_width=16)
    with pytest.raises(ValueError, match="norm"):
        bad = UNet(UNetConfig(norm="layer"))  # type: ignore[arg-type]
        jax.eval_shape(bad.init, jax.random.key(0), noise(1, 16, 16, 1))
