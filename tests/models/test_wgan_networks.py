"""WGAN-VGG's generator and critic against the paper's layers, and the penalty by PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.gradient_penalty import gradient_penalty
from medjax.models.critic import Critic, CriticConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.size import parameter_count

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def critic_shapes(config: CriticConfig, *space: int):
    x = jax.ShapeDtypeStruct((2, *space, 1), jnp.float32)
    return jax.eval_shape(Critic(config).init_with_output, jax.random.key(0), x)


def test_the_generator_has_the_parameters_of_the_paper():
    by_hand = (9 + 1) * 32 + 6 * (9 * 32 + 1) * 32 + 9 * 32 + 1
    assert parameter_count(PlainCNNConfig()) == by_hand == 56_097


def test_the_critic_has_the_parameters_of_the_paper():
    """On patches of 64, halved three times."""
    convolutions = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    by_hand = sum((9 * a + 1) * b for a, b in convolutions)
    by_hand += (8 * 8 * 256 + 1) * 1024 + 1025
    score, variables = critic_shapes(CriticConfig(), 64, 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == by_hand
    assert score.shape == (2,) and score.dtype == jnp.float32


@pytest.mark.parametrize("space", [(9, 12), (4, 5, 6), (2, 3, 4, 5)])
def test_both_take_2_to_4_dimensions(space):
    assert critic_shapes(CriticConfig(width=2, stages=2, dense=3), *space)[0].shape == (2,)
    network = PlainCNNConfig(width=2, layers=2).build()
    x = jax.ShapeDtypeStruct((1, *space, 2), jnp.float32)
    restored = jax.eval_shape(network.init_with_output, jax.random.key(0), x)[0]
    assert restored.shape == (1, *space, 1)


def test_a_residual_generator_starts_from_the_identity_and_sees_what_it_restores():
    x = jax.random.normal(jax.random.key(7), (1, 8, 9, 2))
    network = PlainCNNConfig(width=2, layers=3, residual=True).build()
    restored, _ = quick(network.init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(restored, x[..., :1])
    config = PlainCNNConfig()
    assert parameter_count(config, channels=2) == parameter_count(config, channels=1)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="stages"):
        CriticConfig(stages=0)
    with pytest.raises(ValueError, match="layers"):
        PlainCNNConfig(layers=0)
    with pytest.raises(ValueError, match="restores 2 channels"):
        PlainCNNConfig(out_channels=2).build().init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_the_penalty_of_the_critic_and_its_slope_are_pytorchs():
    """Derivatives of derivatives, through convolutions of stride 1 and 2 and dense layers."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    image = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    critic = Critic(CriticConfig(width=2, stages=1, dense=3))
    params = critic.init(jax.random.key(0), image)["params"]

    @quick
    @jax.value_and_grad
    def penalty(params):
        # Between an image and itself there is one place only, whatever the key.
        score = lambda x: critic.apply({"params": params}, x)  # noqa: E731
        return gradient_penalty(score, image, image, jax.random.key(2))

    value, slope = penalty(params)

    def tensor(leaf):
        return torch.tensor(np.asarray(leaf), requires_grad=True)

    theirs = jax.tree.map(tensor, params)
    x = tensor(image.transpose(0, 3, 1, 2))
    h = x
    for i, stride in enumerate((1, 2)):
        own = theirs[f"ConvUnit_{i}"]["Conv_0"]
        h = functional.conv2d(h, own["kernel"].permute(3, 2, 0, 1), own["bias"], stride, 1)
        h = functional.leaky_relu(h, 0.2)
    h = h.permute(0, 2, 3, 1).flatten(1)
    h = functional.leaky_relu(h @ theirs["Dense_0"]["kernel"] + theirs["Dense_0"]["bias"], 0.2)
    scores = h @ theirs["Dense_1"]["kernel"] + theirs["Dense_1"]["bias"]
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    want = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    want.backward()
    np.testing.assert_allclose(value, want.item(), rtol=1e-4)
    for ours, other in zip(jax.tree.leaves(slope), jax.tree.leaves(theirs), strict=True):
        # PyTorch has no slope where the penalty does not depend on a parameter: the biases.
        expected = np.zeros_like(ours) if other.grad is None else other.grad.numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-5)
