"""Smooth random displacements that do not fold, of images and volumes.

Simard, Steinkraus & Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

# Displacements are limited to so many standard deviations, which bounds the margin a patch needs.
LIMIT = 4.5
# The smoothing kernel reaches so many sigmas.
TRUNCATE = 4.0
# Smallest determinant of the Jacobian that is left as it is; 0 is a fold.
MIN_DETERMINANT = 0.05


def displacement_std(alpha: float, sigma: float, dims: int) -> float:
    """Standard deviation in samples of one component of the elastic displacement.

    alpha/sqrt(3), that of the uniform noise, times (2 sqrt(pi) sigma)^(-dims/2), the L2 norm of
    the Gaussian kernel.
    """
    if alpha == 0 or sigma == 0:
        return 0.0
    return alpha / math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** (-dims / 2)


def elastic_displacement(
    key: PRNGKeyArray, shape: tuple[int, ...], alpha: float, sigma: float
) -> Float[Array, "n *space"]:
    """A smooth random displacement in samples: uniform noise, smoothed, limited, without folds.

    The noise extends beyond the borders, so the field is as strong there as in the middle.
    Smoothing is a matrix product along each axis, which is fast on every device.
    """
    reach = math.ceil(TRUNCATE * sigma)
    noise = jax.random.uniform(
        key, (len(shape), *(n + 2 * reach for n in shape)), minval=-alpha, maxval=alpha
    )
    for axis, n in enumerate(shape, start=1):
        noise = jnp.moveaxis(jnp.tensordot(noise, _smoothing(n, sigma, reach), (axis, 1)), -1, axis)
    limit = LIMIT * displacement_std(alpha, sigma, len(shape))
    return unfold(jnp.clip(noise, -limit, limit))


def unfold(displacement: Float[Array, "n *space"]) -> Float[Array, "n *space"]:
    """Weakens a displacement that turns the image inside out somewhere, until it does not.

    Where every row of the Jacobian of the displacement sums, in absolute value, to less than 1,
    identity plus displacement is invertible (Gershgorin).
    """
    jacobian = _jacobian(displacement)
    folds = jnp.min(_determinant(jacobian)) < MIN_DETERMINANT
    steepest = jnp.max(jnp.sum(jnp.abs(jacobian), axis=1))
    return displacement * jnp.where(folds, (1 - MIN_DETERMINANT) / steepest, 1.0)


def jacobian_determinant(displacement: Float[Array, "n *space"]) -> Float[Array, "*space"]:
    """Local change of area or volume of x + displacement(x); 0 or less where it folds.

    By forward differences, so each axis is one sample shorter.
    """
    return _determinant(_jacobian(displacement))


def _jacobian(displacement: Float[Array, "n *space"]) -> Float[Array, "n n *space"]:
    dims = len(displacement)
    inner = (slice(None), *[slice(None, -1)] * dims)
    rows = [
        jnp.roll(displacement, -1, axis=1 + axis)[inner] - displacement[inner]
        for axis in range(dims)
    ]
    return jnp.stack(rows, axis=1)


def _determinant(jacobian: Float[Array, "n n *space"]) -> Float[Array, "*space"]:
    n = len(jacobian)
    full = jacobian + jnp.eye(n).reshape(n, n, *[1] * n)
    if n == 2:
        return full[0, 0] * full[1, 1] - full[0, 1] * full[1, 0]
    return jnp.sum(full[0] * jnp.cross(full[1], full[2], axis=0), axis=0)


def _smoothing(n: int, sigma: float, reach: int) -> Float[np.ndarray, "n wide"]:
    """The matrix that smooths n + 2 reach samples with a Gaussian and keeps the n inner ones."""
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    matrix = np.zeros((n, n + 2 * reach), np.float32)
    for i in range(n):
        matrix[i, i : i + 2 * reach + 1] = taps / taps.sum()
    return matrix
