"""Squared error with its two parts weighted apart: what is systematic, and what is chance.

The mean squared error asks for the mean of all images that the noise allows, so what hardly stands
out of the noise (a faint border, a small nodule) is smoothed away with it: a systematic error. It
weighs as much as the noise that is left, and at a low dose most of the error is of this kind. To a
reader it is worse. With two noise draws of the same image the two can be told apart, and a network
be trained to leave more noise and smooth less (Diskin, Eldar, Wiesel, "Learning to estimate without
bias", IEEE Transactions on Signal Processing 2023).

Squares let the noisiest images of a batch drown the others; divided by its root mean square, each
image counts as it does under an absolute error.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.losses.pixel import check_shapes

# Of the root mean square, in windows: an image restored better than that counts less.
_LEAST = 1e-3


def bias_constrained(
    restored: Float[Array, "2*batch *space channel"],
    clean: Float[Array, "2*batch *space channel"],
    *,
    variance: float,
) -> Float[Array, ""]:
    """Of each image (bias² + `variance` times variance) over its root mean square error; the mean.

    Of two errors `a` and `b` with independent noise `a b` has the mean bias², `(a - b)² / 2` the
    mean variance. With `variance` 1 it is the mean of the images' root mean square errors. What is
    divided by counts as a constant in gradients.

    Args:
      restored: neighbours 0 and 1, 2 and 3, ... are restored from two noise draws of one image.
      clean: what each should have been.
      variance: weight of the variance; under 1 leaves more noise and more of what is faint.

    Raises:
      ValueError: the weight is not positive (noise would be free), shapes differ, or the batch is
        odd.
    """
    if variance <= 0:
        raise ValueError(f"variance must be positive, got {variance}")
    check_shapes(restored, clean)
    if len(restored) % 2:
        raise ValueError(f"a batch of {len(restored)} has no two noise draws of each image")
    error = restored - clean
    a, b = error[::2], error[1::2]
    axes = tuple(range(1, error.ndim))
    bias, noise = jnp.mean(a * b, axes), jnp.mean(jnp.square(a - b), axes) / 2
    size = jnp.sqrt(jnp.maximum(bias + noise, _LEAST**2))
    return jnp.mean((bias + variance * noise) / jax.lax.stop_gradient(size))
