"""The VAE's objective against analytic answers, its options, its draws."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from medjax.errors import UserError
from medjax.methods import config
from medjax.methods.base import Pair
from medjax.methods.vae import generate, standardised, vae, warmed
from medjax.models.cvae import CVAEConfig
from medjax.models.latent import Gaussian, Reconstruction, standard_normal_like
from medjax.models.unet import UNetConfig
from medjax.models.vae import VAEConfig

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SMALL = {"width": 4, "depth": 1, "latent": 2}
NETWORK = CVAEConfig(**SMALL).build()


class LinearGaussian(nn.Module):
    """x = w z + noise with q(z|x) = N(a x, exp(b)): probabilistic PCA of one number."""

    conditional: bool = False

    @nn.compact
    def reconstruct(self, degraded, clean, *, train=False):
        w, a = (self.param(n, nn.initializers.constant(0.5), ()) for n in ("w", "a"))
        b = self.param("b", nn.initializers.zeros, ())
        seen = self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        if train:
            seen.value = 0.5 * seen.value + jnp.mean(clean**2)
        posterior = Gaussian(a * clean, b * jnp.ones_like(clean))
        image = w * posterior.sample(self.make_rng("latent"))
        restored = w * degraded if self.conditional else None
        return Reconstruction(image, posterior, standard_normal_like(posterior), restored)

    def draw(self, degraded):
        return degraded


def numbers(count: int, variance: float) -> Pair:
    # Exact quantiles: the data's variance is not left to chance.
    values = stats.norm.ppf((np.arange(count) + 0.5) / count)
    values *= np.sqrt(variance / np.mean(values**2))
    clean = jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)
    return Pair(clean, clean)


def test_one_step_reports_the_linear_gaussian_elbo():
    batch, beta = numbers(50_000, 4.0), 0.5
    method = vae(LinearGaussian(), optax.sgd(0.0), beta=beta)
    state = method.init(jax.random.key(0), batch)
    _, metrics = quick(method.step)(state, batch, jax.random.key(1))
    # E[(x - w(ax + e))²] = v(1 - wa)² + w², KL = (a²v + 1 - 1 - 0) / 2.
    reconstruction, kl = 4 * (1 - 0.25) ** 2 + 0.25, 0.5 * 0.25 * 4
    np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=0.02)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["loss"], metrics["reconstruction"] + beta * metrics["kl"], rtol=1e-5
    )


def test_training_reaches_the_marginal_likelihood_of_a_linear_gaussian():
    """With beta = 2 sigma² the optimum is probabilistic PCA (Tipping & Bishop 1999)."""
    variance, sigma = 4.0, 1.0
    batch = numbers(4096, variance)
    method = vae(LinearGaussian(), optax.adam(0.02), beta=2 * sigma**2, ema_decay=0.99)
    state = quick(method.init)(jax.random.key(0), batch)
    step = quick(method.step)
    for i in range(600):
        state, _ = step(state, batch, jax.random.key(i))
    found = state.ema["params"]
    assert float(found["w"]) ** 2 == pytest.approx(variance - sigma**2, rel=0.05)
    assert float(jnp.exp(found["b"])) == pytest.approx(sigma**2 / variance, rel=0.05)
    frozen = vae(LinearGaussian(), optax.sgd(0.0), beta=2 * sigma**2)
    averaged = state.replace(
        network=state.network.replace(
            variables=state.ema, opt_state=(optax.EmptyState(), optax.EmptyState())
        )
    )
    _, metrics = frozen.step(averaged, batch, jax.random.key(-1 % 2**31))
    negative_elbo = metrics["loss"] / (2 * sigma**2) + 0.5 * np.log(2 * np.pi * sigma**2)
    marginal = -np.mean(stats.norm.logpdf(np.asarray(batch.clean), scale=np.sqrt(variance)))
    assert float(negative_elbo) == pytest.approx(marginal, abs=0.03)


def test_kl_of_two_gaussians():
    posterior = Gaussian(jnp.asarray([[1.0, -2.0]]), jnp.asarray([[0.5, -1.0]]))
    prior = Gaussian(jnp.asarray([[0.3, 1.0]]), jnp.asarray([[-0.7, 0.4]]))
    mean, log_variance = (np.asarray(x, np.float64) for x in standardised(posterior, prior))
    found = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    (m, p), (n, q) = (
        (np.asarray(g.mean), np.exp(np.asarray(g.log_variance))) for g in (posterior, prior)
    )
    expected = 0.5 * (np.log(q / p) + (p + (m - n) ** 2) / q - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def pair(n: int = 4, side: int = 8, key: int = 1) -> Pair:
    """Squares of random brightness whose brightness the degraded image does not tell."""
    level_key, noise_key = jax.random.split(jax.random.key(key))
    level = jax.random.uniform(level_key, (n, 1, 1, 1))
    clean = jnp.zeros((n, side, side, 1)).at[:, 2:6, 2:6].set(1.0) * level
    degraded = jnp.where(clean > 0, 0.5, 0.0) + 0.05 * jax.random.normal(noise_key, clean.shape)
    return Pair(jnp.concatenate([degraded, jnp.full_like(degraded, 0.05)], axis=-1), clean)


@pytest.fixture(scope="module")
def trained():
    """(first metrics, last metrics, state) of a conditional network on squares."""
    method = vae(NETWORK, optax.adam(5e-3), beta=1e-3, ema_decay=0.9)

    def step(state, number):
        # Fresh images at every step: the noise of a few could be learned by heart.
        return method.step(state, pair(16, key=number), jax.random.key(number))

    state = quick(method.init)(jax.random.key(0), pair(16))
    step = quick(step, donate_argnums=0)
    state, first = step(state, 0)
    for i in range(1, 300):
        state, last = step(state, i)
    return first, last, state


def test_training_lowers_the_loss(trained):
    first, last, _ = trained
    assert last["loss"] < 0.5 * first["loss"]
    # The posterior knows the brightness, the prior cannot.
    assert last["reconstruction"] < 0.5 * last["restoration"]
    assert last["kl"] > 0.5
    assert set(last) == {"loss", "reconstruction", "restoration", "kl", "gradient_norm"}
    assert {(m.shape, m.dtype) for m in last.values()} == {((), jnp.dtype("float32"))}


def test_draws_scatter_about_what_is_restored_where_the_input_is_silent(trained):
    *_, state = trained
    method, batch = vae(NETWORK, optax.adam(5e-3)), pair(16, key=9999)
    draw = quick(method.draw)
    draws = jnp.stack([draw(state, batch.degraded, jax.random.key(i)) for i in range(64)])
    np.testing.assert_array_equal(draws[3], draw(state, batch.degraded, jax.random.key(3)))
    spread = draws.std(0)
    inside, outside = spread[:, 3:5, 3:5].mean(), spread[:, :1].mean()
    assert inside > 3 * outside
    restored = quick(method.restore)(state, batch.degraded)
    far = jnp.abs(draws.mean(0) - restored).mean()
    assert far < 0.35 * jnp.abs(draws - restored).mean()


def losses(conditional=False, **options):
    """Metrics of a first step at which nothing moves."""
    batch = numbers(64, 4.0)
    method = vae(LinearGaussian(conditional), optax.sgd(0.0), **options)
    state = method.init(jax.random.key(0), batch)
    return method.step(state, batch, jax.random.key(1))[1]


def test_beta_weighs_the_kl_and_free_bits_hold_it_up():
    none, one, four = (losses(beta=b) for b in (0.0, 1.0, 4.0))
    np.testing.assert_allclose(none["loss"], none["reconstruction"], rtol=1e-6)
    np.testing.assert_allclose(four["loss"] - none["loss"], 4 * one["kl"], rtol=1e-4)
    free = losses(beta=1.0, free_bits=3.0)
    np.testing.assert_allclose(free["loss"] - none["loss"], 3.0, rtol=1e-4)
    np.testing.assert_allclose(free["kl"], one["kl"], rtol=1e-6)


def test_warming_up_raises_the_kls_weight():
    assert [float(warmed(jnp.asarray(i), 4)) for i in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert float(warmed(jnp.asarray(0), 0)) == 1
    cold, warm = losses(beta=1.0, warmup=10), losses(beta=1.0)
    np.testing.assert_allclose(
        cold["loss"] - cold["reconstruction"],
        0.1 * (warm["loss"] - warm["reconstruction"]),
        rtol=1e-4,
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_the_prior_divides_the_loss(share):
    m = losses(conditional=True, beta=0.0, prior_share=share)
    np.testing.assert_allclose(m["restoration"], 0.25 * 4, rtol=1e-5)
    expected = (1 - share) * m["reconstruction"] + share * m["restoration"]
    np.testing.assert_allclose(m["loss"], expected, rtol=1e-6)


def test_generating_follows_the_key_and_the_training_images():
    network = VAEConfig(size=(8, 8), depth=1, width=4, latent=1).build()
    method = vae(network, optax.adam(1e-2), beta=0.1, ema_decay=0.9)

    def step(state, number):
        return method.step(state, pair(32, key=number), jax.random.key(number))

    state = quick(method.init)(jax.random.key(0), pair(32))
    step = quick(step, donate_argnums=0)
    for i in range(200):
        state, _ = step(state, i)
    make = quick(functools.partial(generate, network), static_argnums=2)
    first, again, other = (make(state, jax.random.key(k), 256) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 0.05
    # What differs from image to image is the square's brightness, as in training.
    square = np.asarray(pair(1).clean > 0, np.float32)
    for pattern in (first.mean(0), first.std(0)):
        assert np.corrcoef(np.ravel(pattern), np.ravel(square))[0, 1] > 0.75
    level = first[:, 3:5, 3:5].mean((1, 2, 3))
    assert 0.15 < float(level.std()) < 0.6


def test_statistics_are_kept_and_averaged():
    batch = numbers(64, 4.0)
    method = vae(LinearGaussian(), optax.sgd(0.1), ema_decay=0.9)
    state = method.init(jax.random.key(0), batch)
    after, _ = method.step(state, batch, jax.random.key(1))
    np.testing.assert_allclose(after.network.variables["batch_stats"]["seen"], 4.0, rtol=1e-5)
    np.testing.assert_allclose(after.ema["batch_stats"]["seen"], 0.9 * 4.0, rtol=1e-5)
    assert jax.tree.structure(state) == jax.tree.structure(after)


def test_pmap_averages_over_its_axis():
    """Two devices give the mean of the steps that either alone would take."""
    method, alone = (vae(LinearGaussian(True), optax.sgd(0.1), axis_name=a) for a in ("data", None))
    batch = numbers(8, 4.0)
    shards = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), batch)
    state = alone.init(jax.random.key(0), batch)
    each = [
        alone.step(state, jax.tree.map(lambda x, i=i: x[i], shards), jax.random.key(1))
        for i in range(2)
    ]
    pmapped = jax.pmap(
        method.step, axis_name="data", in_axes=(None, 0, None), devices=jax.devices()[:2]
    )
    shared, metrics = pmapped(state, shards, jax.random.key(1))
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *(s.network.variables for s, _ in each))
    for found in (0, 1):
        mine = jax.tree.map(lambda x, i=found: x[i], shared.network.variables)
        gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), mine, expected)
        assert max(jax.tree.leaves(gaps)) < 1e-6
    np.testing.assert_allclose(metrics["kl"], np.mean([m["kl"] for _, m in each]), rtol=1e-5)


def test_settings_build_the_method_and_refuse_other_networks():
    loss = optax.l2_loss
    assert config.VAE().build(NETWORK, optax.sgd(0.1), loss).draw is not None
    with pytest.raises(UserError, match="CVAEConfig"):
        config.VAE().build(UNetConfig().build(), optax.sgd(0.1), loss)
    with pytest.raises(UserError, match="prior_share"):
        config.VAE(prior_share=2.0).build(NETWORK, optax.sgd(0.1), loss)
