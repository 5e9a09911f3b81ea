"""Autoencoders: shapes in every dimension, where the latent acts, what each key gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cvae import CVAE, CVAEConfig
from medjax.models.latent import Gaussian, bounded_gaussian
from medjax.models.vae import VAE, VAEConfig

SPACES = {2: (9, 12), 3: (5, 6, 9), 4: (4, 5, 4, 6)}
SMALL = {"width": 2, "depth": 1, "latent": 3}

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def images(dims: int, channels: int = 1, batch: int = 2):
    return jax.random.uniform(jax.random.key(dims), (batch, *SPACES[dims], channels))


def initialised(network, *inputs):
    rngs = {"params": jax.random.key(0), "latent": jax.random.key(1)}
    return quick(functools.partial(network.init, method="reconstruct"))(rngs, *inputs)


def apply(network, variables, *inputs, method=None, key=0):
    @quick
    def run(variables, inputs, key):
        return network.apply(variables, *inputs, method=method, rngs={"latent": key})

    return run(variables, inputs, jax.random.key(key))


def stirred(variables):
    """Other weights than the start, whose last convolution is zero."""
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def traced(network, *inputs):
    """Shapes of a training pass and of its gradient, without compiling anything."""

    def loss(variables):
        keys = {"latent": jax.random.key(0)}
        out = network.apply(variables, *inputs, rngs=keys, method="reconstruct")
        return jnp.sum(out.image), out

    rngs = {"params": jax.random.key(0), "latent": jax.random.key(1)}
    init = functools.partial(network.init, method="reconstruct")
    variables = jax.eval_shape(init, rngs, *inputs)
    gradient, out = jax.eval_shape(jax.grad(loss, has_aux=True), variables)
    assert jax.tree.structure(gradient) == jax.tree.structure(variables)
    return variables, out


@pytest.mark.parametrize("shape", ["spatial", "vector"])
@pytest.mark.parametrize("dims", SPACES)
def test_conditional_shapes(dims, shape):
    network = CVAEConfig(latent_shape=shape, **SMALL).build()
    clean, degraded = images(dims), images(dims, channels=2)
    _, out = traced(network, degraded, clean)
    grid = tuple(-(-n // 2) for n in SPACES[dims]) if shape == "spatial" else (1,) * dims
    assert out.image.shape == out.restored.shape == clean.shape
    assert {x.shape for x in (*out.posterior, *out.prior)} == {(2, *grid, 3)}


@pytest.mark.parametrize("shape", ["spatial", "vector"])
@pytest.mark.parametrize("dims", SPACES)
def test_unconditional_shapes(dims, shape):
    network = VAEConfig(size=SPACES[dims], latent_shape=shape, **SMALL).build()
    clean = images(dims)
    variables, out = traced(network, clean, clean)
    assert out.image.shape == clean.shape
    assert out.restored is None
    rngs = {"latent": jax.random.key(0)}
    new = jax.eval_shape(lambda v: network.apply(v, 5, rngs=rngs, method="generate"), variables)
    assert new.shape == (5, *SPACES[dims], 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_untrained_network_returns_its_input(dims):
    network = CVAEConfig(**SMALL).build()
    clean, degraded = images(dims), images(dims, channels=2)
    variables = initialised(network, degraded, clean)
    np.testing.assert_array_equal(apply(network, variables, degraded), degraded[..., :1])


def conditional(**options):
    network = CVAE(CVAEConfig(**SMALL, **options))
    clean, degraded = images(2), images(2, channels=2)
    return network, stirred(initialised(network, degraded, clean)), clean, degraded


@pytest.fixture(scope="module")
def learned():
    return conditional()


def test_draws_follow_the_key(learned):
    network, variables, _, degraded = learned
    first, again, other = (
        apply(network, variables, degraded, method="draw", key=k) for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-3


def test_restoring_decodes_the_priors_mean(learned):
    network, variables, clean, degraded = learned
    out = apply(network, variables, degraded, clean, method="reconstruct")
    np.testing.assert_allclose(out.restored, apply(network, variables, degraded), atol=1e-5)
    changed = apply(network, variables, degraded, clean + 1, method="reconstruct")
    np.testing.assert_array_equal(changed.restored, out.restored)
    np.testing.assert_array_equal(changed.prior.mean, out.prior.mean)
    assert jnp.abs(changed.posterior.mean - out.posterior.mean).max() > 1e-3


def test_the_standard_prior_is_standard():
    network, variables, clean, degraded = conditional(prior="standard", norm="batch")
    prior = apply(network, variables, degraded, clean, method="reconstruct").prior
    assert all(not x.any() for x in prior)
    assert "prior" not in variables["params"] and "batch_stats" in variables


def test_a_restoring_network_takes_other_sizes():
    network, variables, _, _ = conditional(latent_shape="vector", residual=False)
    wide = jnp.ones((1, 21, 17, 2))
    assert apply(network, variables, wide).shape == (1, 21, 17, 1)


def test_an_unconditional_network_refuses_other_sizes():
    network = VAE(VAEConfig(size=(9, 12), **SMALL))
    with pytest.raises(ValueError, match=r"\(9, 12\)"):
        traced(network, jnp.ones((1, 12, 12, 1)), jnp.ones((1, 12, 12, 1)))


def test_a_residual_network_needs_the_images_channels():
    network = CVAE(CVAEConfig(out_channels=3, **SMALL))
    with pytest.raises(ValueError, match="3 output channels"):
        traced(network, images(2), images(2, channels=3))


def test_bfloat16_computes_and_returns_float32():
    network = CVAE(CVAEConfig(dtype="bfloat16", **SMALL))
    found = traced(network, images(2, channels=2), images(2))
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}


def test_samples_have_the_distributions_moments():
    mean, log_variance = jnp.asarray([[-1.0, 2.0]]), jnp.log(jnp.asarray([[0.25, 9.0]]))
    many = Gaussian(*(jnp.tile(x, (40_000, 1)) for x in (mean, log_variance)))
    drawn = many.sample(jax.random.key(0))
    np.testing.assert_allclose(drawn.mean(0), mean[0], atol=0.06)
    np.testing.assert_allclose(drawn.std(0), [0.5, 3.0], rtol=0.02)


def test_log_variances_stay_bounded_with_a_gradient():
    def log_variance(x):
        return bounded_gaussian(jnp.stack([x, x])[None]).log_variance[0, 0]

    assert abs(log_variance(jnp.asarray(1e4))) <= 8
    assert jax.grad(log_variance)(jnp.asarray(20.0)) > 0
    np.testing.assert_allclose(log_variance(jnp.asarray(0.1)), 0.1, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"latent": 0}, {"latent_shape": "cube"}, {"prior": "flat"}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CVAEConfig(**wrong)
