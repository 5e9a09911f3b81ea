"""The gradient penalty that keeps a Wasserstein critic 1-Lipschitz (arXiv:1704.00028)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Under the square root, whose slope at 0 is infinite.
_TINY = 1e-12


def gradient_penalty(
    score: Callable[[Float[Array, "batch *rest"]], Float[Array, " batch"]],
    real: Float[Array, "batch *rest"],
    fake: Float[Array, "batch *rest"],
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Mean over the batch of `(|gradient of the score| - 1)²`, somewhere between real and fake.

    Each image is mixed of a real and a fake one, its share drawn uniformly; the gradient's norm is
    Euclidean over all its values. Differentiable in whatever `score` depends on.

    Args:
      score: of each image by itself; one that compares the images of a batch is not penalised
        rightly.
      real: images.
      fake: as many, of the same shape.
      key: of the shares.
    """
    share = jax.random.uniform(key, (len(real), *(1,) * (real.ndim - 1)), real.dtype)
    mixed = fake + share * (real - fake)
    slope = jax.grad(lambda images: jnp.sum(score(images)))(mixed)
    squares = jnp.sum(jnp.square(slope.reshape(len(real), -1)), axis=1)
    return jnp.mean(jnp.square(jnp.sqrt(squares + _TINY) - 1))
