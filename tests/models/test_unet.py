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


# Options


def names(variables) -> set[str]:
    """Paths of modules without their numbers."""
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {step.key.rstrip("_0123456789") for path, _ in paths for step in path[:-1]}


def test_names_of_the_default_network_stay_as_checkpoints_have_them():
    variables = jax.eval_shape(UNet(UNetConfig(depth=1)).init, jax.random.key(0), noise(1, 8, 8, 1))
    params = variables["params"]
    assert sorted(params) == [*(f"ConvUnit_{i}" for i in range(6)), "Conv_0", "Upsample_0"]
    assert sorted(params["ConvUnit_0"]) == ["Conv_0", "Normalise_0"]
    assert sorted(params["ConvUnit_0"]["Normalise_0"]) == ["BatchNorm_0"]
    assert sorted(params["Upsample_0"]) == ["ConvTranspose_0", "Normalise_0"]
    assert sorted(variables["batch_stats"]["Upsample_0"]["Normalise_0"]["BatchNorm_0"]) == [
        "mean",
        "var",
    ]


def test_residual_levels_have_the_layers_of_residual_blocks():
    config = UNetConfig(
        width=4, depth=1, convs_per_level=3, norm="none", level_block="residual", residual=False
    )
    params = jax.eval_shape(UNet(config).init, jax.random.key(0), noise(1, 8, 8, 2))["params"]

    def conv(inputs: int, outputs: int, taps: int = 9) -> int:
        return (taps * inputs + 1) * outputs

    levels = conv(2, 4) + 4 * conv(4, 4) + conv(4, 8) + 4 * conv(8, 8)
    levels += conv(8, 4, 16) + conv(8, 4) + 4 * conv(4, 4)
    assert parameter_count(params) == levels + conv(4, 1)


@pytest.mark.parametrize("attention", ["gate", "squeeze_excite"])
def test_attention_weighs_each_skip_and_learns(attention):
    config = dataclasses.replace(SMALL, width=4, attention=attention, residual=False)
    net, x = UNet(config), noise(1, 6, 5, 2)
    params = quick(net.init)(jax.random.key(0), x)["params"]
    (module,) = {"AttentionGate", "SqueezeExcite"} & names({"params": params})
    assert module == ("AttentionGate" if attention == "gate" else "SqueezeExcite")
    plain = UNet(dataclasses.replace(config, attention="none"))
    without = {name: value for name, value in params.items() if module not in name}
    assert len(params) - len(without) == config.depth

    def loss(params):
        return jnp.sum(jnp.square(net.apply({"params": params}, x)))  # pyright: ignore

    gradient = quick(jax.grad(loss))(params)
    assert all(
        jnp.abs(leaf).max() > 0
        for i in range(config.depth)
        for leaf in jax.tree.leaves(gradient[f"{module}_{i}"])
    )
    shut = {
        name: jax.tree.map(jnp.zeros_like, value) if module in name else value
        for name, value in params.items()
    }
    # Zero logits weigh the skip by a half: the kernel that reads it does the same.
    halved = dict(without)
    for i, width in zip((3, 4), (8, 4), strict=True):
        kernel = without[f"ConvUnit_{i}"]["Conv_0"]["kernel"]
        scaled = kernel.at[..., width:, :].multiply(0.5)
        halved[f"ConvUnit_{i}"] = {
            "Conv_0": {**without[f"ConvUnit_{i}"]["Conv_0"], "kernel": scaled}
        }
    np.testing.assert_allclose(
        quick(net.apply)({"params": shut}, x), quick(plain.apply)({"params": halved}, x), atol=1e-5
    )


def test_factorised_network_convolves_over_space_or_time_but_at_its_end():
    config = UNetConfig(
        width=2, depth=1, norm="none", factorised=True, level_block="residual", residual=True
    )
    x = noise(1, 5, 1, 3, 2, 1)
    made = jax.eval_shape(UNet(config).init_with_output, jax.random.key(0), x)
    assert made[0].shape == x.shape
    params = dict(made[1]["params"])
    last = params.pop("Conv_0")["kernel"]
    assert last.shape == (3, 3, 3, 3, 2, 1)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert {tuple(n > 1 for n in shape[:4]) for shape in kernels} == {
        (False, True, True, True),
        (True, False, False, False),
    }
    joint = jax.eval_shape(
        UNet(dataclasses.replace(config, factorised=False)).init, jax.random.key(0), x
    )
    assert parameter_count(params) < 0.45 * parameter_count(joint["params"])


@pytest.mark.parametrize("size", range(1, 9))
def test_short_axes_are_reflected_to_and_fro(size):
    x = noise(1, size, 8, 1)
    to_and_fro = [*range(size), *range(size - 2, 0, -1)] * 8
    np.testing.assert_array_equal(pad_to_multiple(x, 8), x[:, jnp.array(to_and_fro[:8])])


@pytest.mark.parametrize("shape", [(1, 5, 20, 20, 1), (1, 3, 1, 9, 7, 1), (1, 1, 1, 1)])
def test_few_slices_and_single_samples_pass_a_deep_network(shape):
    x = noise(*shape)
    config = UNetConfig(width=1, depth=3, convs_per_level=1, norm="none", max_width=2)
    made = jax.eval_shape(UNet(config).init_with_output, jax.random.key(0), x)
    assert made[0].shape == shape


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="level_block is one of plain, residual"):
        UNetConfig(level_block="dense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attention is one of none, gate"):
        UNetConfig(attention="self")  # type: ignore[arg-type]
