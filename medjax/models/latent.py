"""Distributions over the latent numbers of variational autoencoders."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

# Beyond exp(-8) a posterior is a point for float32, and beyond exp(8) its samples overflow.
LOG_VARIANCE_BOUND = 8.0
# Posteriors start near the prior: the KL alone moves a mean that starts elsewhere back slowly.
near_prior = nn.initializers.normal(0.1)


class Gaussian(NamedTuple):
    """A diagonal normal distribution over latent numbers."""

    mean: Float[Array, "batch *latent"]
    log_variance: Float[Array, "batch *latent"]

    def sample(self, key: Key[Array, ""]) -> Float[Array, "batch *latent"]:
        """One draw, differentiable in mean and variance."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_variance / 2) * noise


class Reconstruction(NamedTuple):
    """What a training pass of an autoencoder gives."""

    image: Float[Array, "batch *space out"]
    """Decoded from a sample of the posterior."""
    posterior: Gaussian
    """q(z | clean image, condition)."""
    prior: Gaussian
    """p(z | condition), or the standard normal."""
    restored: Float[Array, "batch *space out"] | None
    """Decoded from the prior's mean: what `network(degraded)` gives; None without a condition."""


def equalised(features: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
    """What a posterior is read from, in float32, over the root of its length.

    Adam moves every weight by the same amount: without this the first step would throw all
    posteriors far from the prior, the farther the longer the features (the "equalised learning
    rate" of Karras et al., arXiv:1710.10196).
    """
    return features.astype(jnp.float32) / np.sqrt(features.shape[-1])


def bounded_gaussian(numbers: Float[Array, "batch *latent twice"]) -> Gaussian:
    """The first half of the channels as mean, the second as log-variance within +-8."""
    mean, spread = jnp.split(numbers, 2, axis=-1)
    # A hard clip would leave what it cuts without gradient.
    return Gaussian(mean, LOG_VARIANCE_BOUND * jnp.tanh(spread / LOG_VARIANCE_BOUND))


def standard_normal_like(other: Gaussian) -> Gaussian:
    """The standard normal over the same latent numbers."""
    return Gaussian(*(jnp.zeros_like(x) for x in other))
