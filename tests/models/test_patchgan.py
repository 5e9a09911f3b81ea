"""The discriminator against the layout of pix2pix: logits, receptive field, parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.patchgan import PatchGAN, PatchGANConfig

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def images(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(3), shape)


def logits_shape(config: PatchGANConfig, *space: int) -> tuple[int, ...]:
    x = jax.ShapeDtypeStruct((2, *space, 1), jnp.float32)
    out, _ = jax.eval_shape(PatchGAN(config).init_with_output, jax.random.key(0), x, x)
    return out.shape


def test_default_receptive_field_is_exactly_70_by_gradient_support():
    config = PatchGANConfig()
    net, x = PatchGAN(config), images(1, 152, 152, 1)

    @quick
    def gradients(x):
        variables = net.init(jax.random.key(0), x, x)
        out = lambda c, y: net.apply(variables, c, y)[0, 8, 8, 0]  # noqa: E731
        return jax.grad(out, argnums=(0, 1))(x, x)

    for gradient in gradients(x):  # of the condition and of the image
        for axis in (1, 2):
            touched = np.flatnonzero(np.abs(gradient).sum(axis=3 - axis).ravel())
            assert touched[-1] - touched[0] + 1 == 70 == len(touched)
    assert config.receptive_field == 70


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_receptive_fields_of_the_paper(layers, field):
    assert PatchGANConfig(layers=layers).receptive_field == field


def test_logits_and_parameters_are_those_of_pix2pix():
    assert logits_shape(PatchGANConfig(), 256, 256) == (2, 30, 30, 1)
    condition, image = images(1, 256, 256, 3), images(1, 256, 256, 3)
    net = PatchGAN(PatchGANConfig())
    variables = jax.eval_shape(net.init, jax.random.key(0), condition, image)
    # NLayerDiscriminator(6, 64, n_layers=3) of pytorch-CycleGAN-and-pix2pix: 2.769 M.
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 2_768_705


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dims", [2, 3, 4])
def test_smallest_input_gives_one_logit_and_less_is_refused(layers, dims):
    config = PatchGANConfig(width=2, layers=layers)
    side = config.smallest_input
    assert logits_shape(config, *(side,) * dims) == (2, *(1,) * dims, 1)
    with pytest.raises(ValueError, match="fewer layers"):
        logits_shape(config, *(side,) * (dims - 1), side - 1)


def test_bfloat16_answers_in_float32_from_float32_parameters():
    x = jax.ShapeDtypeStruct((2, 24, 24, 1), jnp.float32)
    net = PatchGAN(PatchGANConfig(dtype="bfloat16"))
    made = jax.eval_shape(net.init_with_output, jax.random.key(0), x, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
