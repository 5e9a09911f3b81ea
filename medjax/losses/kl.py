"""The Kullback-Leibler term of variational autoencoders."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def gaussian_kl(
    mean: Float[Array, "batch *latent"], log_variance: Float[Array, "batch *latent"]
) -> Float[Array, "batch *latent"]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every latent number, in nats.

    Kingma & Welling, "Auto-encoding variational Bayes", arXiv:1312.6114, appendix B. The
    divergence of a whole diagonal Gaussian is the sum over its latent numbers.

    Raises:
      ValueError: the shapes differ.
    """
    if mean.shape != log_variance.shape:
        raise ValueError(f"shapes differ: mean {mean.shape}, log_variance {log_variance.shape}")
    # expm1: near the prior exp(l) - 1 - l is the difference of nearly equal numbers.
    return 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def kl_loss(
    mean: Float[Array, "batch *latent"],
    log_variance: Float[Array, "batch *latent"],
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> Float[Array, ""]:
    """beta times the KL to N(0, I): summed over each sample's latent numbers, batch mean, in nats.

    With free bits (Kingma et al., "Improving variational inference with inverse autoregressive
    flow", arXiv:1606.04934, eq. 15) a group of latent numbers whose mean KL over the batch is under
    the threshold costs the threshold and has no gradient, so the encoder may use that much for
    nothing and the posterior does not collapse. A group is one channel: the last axis, summed
    over the latent space. Beta weighs as in Higgins et al., beta-VAE, ICLR 2017. A pixel loss
    that is a *mean* is out of proportion to this sum: divide beta by the number of pixels.

    Args:
      mean: of the approximate posterior.
      log_variance: natural logarithm of its variance.
      beta: weight of the term.
      free_bits: nats a channel that cost nothing extra, summed over that channel's space; 0 for
        the plain KL.

    Raises:
      ValueError: the shapes differ, there is no latent axis, or beta or free_bits is negative.
    """
    if beta < 0 or free_bits < 0:
        raise ValueError(f"beta {beta} and free_bits {free_bits} must not be negative")
    if mean.ndim < 2:
        raise ValueError(f"needs [batch, ..., channel], got shape {mean.shape}")
    divergence = gaussian_kl(mean, log_variance)
    a_channel = jnp.sum(jnp.mean(divergence, axis=0), axis=tuple(range(mean.ndim - 2)))
    return beta * jnp.sum(jnp.maximum(a_channel, free_bits) if free_bits else a_channel)
