"""How likely an error is under a spread that a network predicted: negative log-likelihoods."""

import math
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Law = Literal["gaussian", "laplace"]
"""How errors scatter: the laws whose likelihoods the squared and the absolute error belong to."""


def negative_log_likelihood(
    error: Float[Array, "*shape"], log_scale: Float[Array, "*shape"], law: Law
) -> Float[Array, "*shape"]:
    """Of each sample in nats, constants included.

    Args:
      error: restored - clean.
      log_scale: logarithm of the law's scale in the error's unit: the standard deviation of a
        Gaussian, the mean absolute deviation of a Laplace law.
      law: of the errors.
    """
    if law == "laplace":
        return jnp.abs(error) * jnp.exp(-log_scale) + log_scale + math.log(2)
    square = jnp.square(error * jnp.exp(-log_scale))
    return 0.5 * square + log_scale + 0.5 * math.log(2 * math.pi)


def standard_deviation(log_scale: Float[Array, "*shape"], law: Law) -> Float[Array, "*shape"]:
    """The law's standard deviation, in the error's unit."""
    return jnp.exp(log_scale) * (math.sqrt(2) if law == "laplace" else 1.0)
