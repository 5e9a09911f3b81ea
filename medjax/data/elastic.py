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
    key: PRNGKeyArray, batch: int, shape: tuple[int, ...], alpha: float, sigma: float
) -> Float[Array, "batch n *space"]:
    """Smooth random displacements in samples, limited and without folds, one an image."""
    limit = LIMIT * displacement_std(alpha, sigma, len(shape))
    noise = smooth_noise(key, batch, shape, alpha, sigma)
    return jax.vmap(unfold)(jnp.clip(noise, -limit, limit))


def smooth_noise(
    key: PRNGKeyArray, batch: int, shape: tuple[int, ...], alpha: float, sigma: float
) -> Float[Array, "batch n *space"]:
    """Uniform noise in [-alpha, alpha], smoothed: one field for each of the axes of `shape`.

    The noise extends beyond the borders, so the field is as strong there as in the middle.
    Smoothing is a matrix product along each axis, which is fast on every device.
    """
    reach = math.ceil(TRUNCATE * sigma)
    wide = (batch, len(shape), *(n + 2 * reach for n in shape))
    noise = jax.random.uniform(key, wide, minval=-alpha, maxval=alpha)
    for axis, n in enumerate(shape, start=2):
        noise = jnp.moveaxis(jnp.tensordot(noise, _smoothing(n, sigma, reach), (axis, 1)), -1, axis)
    return noise


def unfold(displacement: Float[Array, "n *space"]) -> Float[Array, "n *space"]:
    """Weakens a displacement that turns the image inside out somewhere, in steps of 5 %.

    Not rare: sigma 4 and alpha 34 give gradients of 0.24 on average, and in a large enough image
    some reach 1. The determinant must stay positive all the way from no displacement.
    """
    strength = jnp.linspace(0.0, 1.0, 21)
    invariants = _invariants(_jacobian(displacement))
    lowest = jax.vmap(lambda t: jnp.min(_polynomial(invariants, t)))(strength)
    fine = jnp.cumprod((lowest > MIN_DETERMINANT).astype(strength.dtype))
    return displacement * jnp.max(strength * fine)


def jacobian_determinant(displacement: Float[Array, "n *space"]) -> Float[Array, "*space"]:
    """Local change of area or volume of x + displacement(x); 0 or less where it folds.

    By forward differences, so each axis is one sample shorter.
    """
    return _polynomial(_invariants(_jacobian(displacement)), jnp.ones(()))


def _jacobian(displacement: Float[Array, "n *space"]) -> Float[Array, "n n *space"]:
    dims = len(displacement)
    inner = (slice(None), *[slice(None, -1)] * dims)
    rows = [
        jnp.roll(displacement, -1, axis=1 + axis)[inner] - displacement[inner]
        for axis in range(dims)
    ]
    return jnp.stack(rows, axis=1)


def _invariants(a: Float[Array, "n n *space"]) -> Float[Array, "n *space"]:
    """The coefficients of t, t^2, ... in det(1 + t A): sums of A's principal minors."""
    if len(a) == 2:
        return jnp.stack([a[0, 0] + a[1, 1], a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]])
    pairs = [a[i, i] * a[j, j] - a[i, j] * a[j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    full = jnp.sum(a[0] * jnp.cross(a[1], a[2], axis=0), axis=0)
    return jnp.stack([a[0, 0] + a[1, 1] + a[2, 2], pairs[0] + pairs[1] + pairs[2], full])


def _polynomial(
    invariants: Float[Array, "n *space"], t: Float[Array, ""]
) -> Float[Array, "*space"]:
    """det(1 + t A) of A's invariants."""
    value = jnp.zeros_like(invariants[0])
    for coefficient in invariants[::-1]:
        value = (value + coefficient) * t
    return 1.0 + value


def _smoothing(n: int, sigma: float, reach: int) -> Float[Array, "n wide"]:
    """The matrix that smooths n + 2 reach samples with a Gaussian and keeps the n inner ones."""
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    # Spread out by the program: as a constant of a large image it would slow down the compiler.
    tap = jnp.arange(n + 2 * reach) - jnp.arange(n)[:, None]
    return (
        jnp.asarray(taps / taps.sum(), jnp.float32)
        .at[tap]
        .get(mode="fill", fill_value=0, wrap_negative_indices=False)
    )
