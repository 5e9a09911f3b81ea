"""RED-CNN and CNN10 against the published layers: counts by hand, outputs by PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cnn10 import CNN10, CNN10Config
from medjax.models.redcnn import REDCNN, REDCNNConfig
from medjax.models.size import parameter_count

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NETWORKS = [REDCNNConfig(width=2), CNN10Config()]


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


def test_red_cnn_has_the_parameters_of_the_paper():
    # 1 to 96 channels, eight of 96 to 96, 96 to 1, all 5x5 with biases.
    by_hand = (25 * 96 + 96) + 8 * (25 * 96 * 96 + 96) + (25 * 96 + 1)
    assert by_hand == 1_848_865
    assert parameter_count(REDCNNConfig()) == by_hand


def test_cnn10_has_the_parameters_of_the_paper():
    by_hand = (81 + 1) * 64 + (9 * 64 + 1) * 32 + 25 * 32 + 1
    assert by_hand == 24_513
    assert parameter_count(CNN10Config()) == by_hand


@pytest.mark.parametrize("config", NETWORKS)
def test_conditions_are_seen_only_if_asked_for(config):
    x = noise(1, 24, 24, 2)
    net = config.build()
    made = jax.eval_shape(net.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01), made)
    apply = quick(net.apply)
    shown = apply(variables, x)
    np.testing.assert_array_equal(shown, apply(variables, x.at[..., 1].add(1.0)))
    assert jnp.abs(shown - apply(variables, x.at[..., 0].add(1.0))).min() > 0
    assert parameter_count(config, channels=2) == parameter_count(config, channels=1)

    aware = type(config)(conditions=True).build()
    made = jax.eval_shape(aware.init, jax.random.key(0), x)["params"]["Conv_0"]["kernel"]
    assert made.shape[-2] == 2


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 40, 3, 1), (1, 1, 3, 6, 1), (1, 2, 1, 2, 2, 1)])
def test_the_size_is_kept_in_2_3_and_4_dimensions(config, shape):
    made = jax.eval_shape(config.build().init_with_output, jax.random.key(0), noise(*shape))
    assert made[0].shape == shape and made[0].dtype == jnp.float32


def test_red_cnn_starts_from_the_identity_and_may_end_in_a_relu():
    x = noise(1, 5, 23, 1)
    restored, variables = quick(REDCNN(REDCNNConfig(4)).init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(restored, x)
    cut = quick(REDCNN(REDCNNConfig(4, final_relu=True)).apply)(variables, x)
    np.testing.assert_array_equal(cut, np.maximum(x, 0))


@pytest.mark.parametrize("config", NETWORKS)
def test_bfloat16_keeps_float32_parameters(config):
    half = type(config)(dtype="bfloat16").build()
    made = jax.eval_shape(half.init_with_output, jax.random.key(0), noise(1, 24, 24, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("kind", [REDCNNConfig, CNN10Config])
def test_bad_sizes_are_refused(kind):
    with pytest.raises(ValueError, match="out_channels"):
        kind(out_channels=0)
    with pytest.raises(ValueError, match="restores 2 channels"):
        kind(out_channels=2).build().init(jax.random.key(0), noise(1, 24, 24, 1))


def from_torch(layer, transposed: bool = False) -> dict[str, jax.Array]:
    """A PyTorch layer's weights in the layout of ours; a transposed kernel is flipped."""
    weight = layer.weight.detach().numpy()
    kernel = (
        weight.transpose(2, 3, 0, 1)[::-1, ::-1] if transposed else weight.transpose(2, 3, 1, 0)
    )
    return {"kernel": jnp.asarray(kernel.copy()), "bias": jnp.asarray(layer.bias.detach().numpy())}


@pytest.mark.parametrize("final_relu", [False, True])
def test_red_cnn_is_the_published_network(final_relu):
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.manual_seed(0)
    wide, relu = 6, nn.ReLU()
    down = [nn.Conv2d(1 if i == 0 else wide, wide, 5) for i in range(5)]
    up = [nn.ConvTranspose2d(wide, 1 if i == 4 else wide, 5) for i in range(5)]
    image = torch.randn(2, 1, 27, 33)
    # Figure 1 of arXiv:1702.00288.
    second = relu(down[1](relu(down[0](image))))
    fourth = relu(down[3](relu(down[2](second))))
    h = relu(up[0](relu(down[4](fourth))) + fourth)
    h = relu(up[2](relu(up[1](h))) + second)
    want = up[4](relu(up[3](h))) + image
    want = relu(want) if final_relu else want

    params = {f"Conv_{i}": from_torch(layer) for i, layer in enumerate(down)}
    params |= {f"ConvTranspose_{i}": from_torch(layer, True) for i, layer in enumerate(up)}
    x = jnp.asarray(image.numpy().transpose(0, 2, 3, 1))
    net = REDCNN(REDCNNConfig(wide, final_relu=final_relu))
    got = quick(net.apply)({"params": params}, x)
    np.testing.assert_allclose(got, want.detach().numpy().transpose(0, 2, 3, 1), atol=2e-5)


def test_cnn10_is_the_published_network():
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 64, 9, padding=4),
        nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 1, 5, padding=2),
    ]
    image = torch.randn(2, 1, 17, 12)
    want = nn.Sequential(*layers)(image).detach().numpy()
    params = {f"Conv_{i}": from_torch(layer) for i, layer in enumerate(layers[::2])}
    x = jnp.asarray(image.numpy().transpose(0, 2, 3, 1))
    got = quick(CNN10().apply)({"params": params}, x)
    np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1), atol=2e-5)
