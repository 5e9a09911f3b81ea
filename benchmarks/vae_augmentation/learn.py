"""A VAE for each class, and one small classifier for every row of the table."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Key

from medjax.data.augment import Augment, augment
from medjax.methods.base import Pair
from medjax.methods.vae import generate, vae
from medjax.models.vae import VAEConfig
from medjax.nn.blocks import ConvUnit

BATCH = 32
VAE_BATCH = 16
CLASSICAL = Augment(
    rotation_degrees=12.0,
    elastic_alpha=20.0,
    flip=False,
    gain=(0.8, 1.2),
    offset=(-0.1, 0.1),
    intensity_probability=0.75,
)


class Recipe(NamedTuple):
    """What a row of the table trains on beside the real images."""

    made: float
    """Share of a batch that the VAEs made."""
    varied: bool
    """Classical augmentation of the whole batch."""


def made_images(
    images: Float32[np.ndarray, "n y x 1"], steps: int, count: int, seed: int
) -> Float32[np.ndarray, "count y x 1"]:
    """New images by a VAE that has seen `images` alone, all of one class."""
    network = VAEConfig(size=images.shape[1:-1], width=16, depth=2, latent=8)
    method = _vae_of(network, steps)
    data = jnp.asarray(images)
    key = jax.random.key(seed)
    state = _init(method, key, data)
    for number in range(steps):
        state = _step(method, state, data, jax.random.fold_in(key, number))
    return np.asarray(_generate(network.build(), state, jax.random.fold_in(key, steps), count))


_generate = jax.jit(generate, static_argnums=(0, 3))


@functools.lru_cache
def _vae_of(network: VAEConfig, steps: int):
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    # 2 sigma² of a decoder with a noise of 20 % of white: with so few images, one that promises
    # more gives each its own island in the latent space, and nothing between them.
    return vae(network.build(), optimizer, beta=0.08, ema_decay=0.99)


@functools.partial(jax.jit, static_argnums=0)
def _init(method, key: Key[Array, ""], data: Array):
    return method.init(key, Pair(data[:VAE_BATCH], data[:VAE_BATCH]))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(method, state, data: Array, key: Key[Array, ""]):
    batch = data[jax.random.randint(jax.random.fold_in(key, 0), (VAE_BATCH,), 0, len(data))]
    return method.step(state, Pair(batch, batch), jax.random.fold_in(key, 1))[0]


class Classifier(nn.Module):
    """Three strided convolutions, the mean over space, one logit."""

    width: int = 16

    @nn.compact
    def __call__(self, x: Float[Array, "batch y x 1"]) -> Float[Array, " batch"]:
        for level in range(3):
            x = ConvUnit(self.width * 2**level, stride=2)(x, train=True)
        return nn.Dense(1)(jnp.mean(x, axis=(1, 2)))[:, 0]


class Pool(NamedTuple):
    """Images of both classes to draw batches from."""

    images: Float[Array, "count y x 1"]
    labels: Int[Array, " count"]


def scores(
    real: Pool,
    made: Pool,
    recipe: Recipe,
    test_images: Float32[np.ndarray, "count y x 1"],
    steps: int,
    seed: int,
) -> Float32[np.ndarray, " count"]:
    """The test images' logits by a classifier trained on a recipe; all train as long."""
    key = jax.random.key(seed)
    params = _start(key, jnp.asarray(test_images[:1]))
    state = (params, _optimizer(steps).init(params))
    share, varied = jnp.asarray(recipe.made), jnp.asarray(recipe.varied)
    for number in range(steps):
        step_key = jax.random.fold_in(key, number)
        state = _learn(steps, state, real, made, share, varied, step_key)
    return np.asarray(_apply(state[0], jnp.asarray(test_images)))


_start = jax.jit(Classifier().init)
_apply = jax.jit(Classifier().apply)


@functools.lru_cache
def _optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=1e-3)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _learn(steps: int, state, real: Pool, made: Pool, share: Array, varied: Array, key: Array):
    pick, choose, vary = jax.random.split(key, 3)
    batches = []
    for i, pool in enumerate((real, made)):
        where = jax.random.randint(jax.random.fold_in(pick, i), (BATCH,), 0, len(pool.labels))
        batches.append((pool.images[where], pool.labels[where]))
    from_made = jax.random.bernoulli(choose, share, (BATCH,))
    images = jnp.where(from_made[:, None, None, None], batches[1][0], batches[0][0])
    labels = jnp.where(from_made, batches[1][1], batches[0][1]).astype(jnp.float32)
    images = jnp.where(varied, augment(vary, images, CLASSICAL), images)

    def loss(params):
        logits = Classifier().apply(params, images)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels))

    params, optimizer_state = state
    gradient = jax.grad(loss)(params)
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = _optimizer(steps).update(gradient, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state
