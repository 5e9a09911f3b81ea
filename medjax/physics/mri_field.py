"""What else degrades an MR image: the coil's uneven sensitivity, and noise under the magnitude."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


def bias_field(
    key: PRNGKeyArray, shape: Sequence[int], strength: float, order: int = 3
) -> Float[Array, "*space"]:
    """A smooth random field to multiply an image with, as a coil's sensitivity does.

    Its logarithm is a random sum of products of Legendre polynomials.

    Args:
      key: draws the field.
      shape: of the image, any number of axes.
      strength: standard deviation of the field's logarithm over the image; 0 is a field of 1,
        0.2 common at 3 T.
      order: largest total degree of a product, at least 1.

    Raises:
      ValueError: an order under 1 or a negative strength.
    """
    if order < 1 or strength < 0:
        raise ValueError(f"order {order} must be 1 or more, strength {strength} not negative")
    axes = [np.polynomial.legendre.legvander(np.linspace(-1, 1, n), order) for n in shape]
    degrees = [d for d in itertools.product(range(order + 1), repeat=len(axes)) if sum(d) <= order]
    weights = jax.random.normal(key, (len(degrees),))
    log = jnp.zeros(tuple(shape))
    for weight, degree in zip(weights, degrees, strict=True):
        # The constant product would only scale the image.
        if any(degree):
            product = jnp.ones(())
            for table, d in zip(axes, degree, strict=True):
                product = product[..., None] * jnp.asarray(table[:, d], jnp.float32)
            log = log + weight * product
    log = log - jnp.mean(log)
    return jnp.exp(strength * log / jnp.maximum(jnp.std(log), 1e-12))


def rician(
    key: PRNGKeyArray, magnitude: Float[Array, "*shape"], sigma: Float[Array, "..."] | float
) -> Float[Array, "*shape"]:
    """The magnitude of an image with complex Gaussian noise (Gudbjartsson and Patz, MRM 1995).

    Args:
      key: draws the noise.
      magnitude: the image without noise.
      sigma: standard deviation of the real and of the imaginary noise, in the image's unit; of an
        image scaled to [0, 1] it is a fraction of the brightest signal.
    """
    real, imaginary = sigma * jax.random.normal(key, (2, *magnitude.shape), magnitude.dtype)
    # The small number keeps the gradient finite where there is neither signal nor noise.
    return jnp.sqrt(jnp.square(magnitude + real) + jnp.square(imaginary) + 1e-14)
