"""How noisy each ray of a low-dose sinogram is, as far as the sinogram itself can tell."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from medjax.physics.ct_dose import DoseModel
from medjax.physics.noise_level import noise_level

# What `noise_level` makes of white noise of standard deviation 1 in two dimensions.
_HIGH_PASSED = float(np.sqrt(1 - 2 / 4 + (3 / 8) ** 2))


def ray_noise(
    line_integrals: Float[Array, "batch views detectors channel"],
    dose: Float[Array, "batch"] | float,
    model: DoseModel,
    offset_mm: Float[Array, "batch 1 detectors 1"] | Float[Array, "detectors 1"] | float = 0.0,
) -> Float[Array, "batch views detectors channel"]:
    """Standard deviation of noisy log projections whose scanner is known: sqrt(y + σe²) / y.

    The counts y are the mean over 3 views and 3 detectors, since those of one ray are noisy
    themselves, and at least σe: below the electronic noise the logarithm tells nothing, and its
    deviation, cut off at the count floor, stays near 1. `dose`, `model` and `offset_mm` as in
    `ct_dose.low_dose`.
    """
    dose = jnp.asarray(dose, jnp.float32).reshape(-1, 1, 1, 1)
    blank = model.blank(jnp.asarray(offset_mm, jnp.float32), dose)
    seen = blank * jnp.exp(-line_integrals)
    counts = jnp.maximum(box_mean(seen, 3), max(model.count_floor, model.electronic_sigma))
    return jnp.sqrt(counts + model.electronic_sigma**2) / counts


def blind_ray_noise(
    line_integrals: Float[Array, "batch views detectors channel"],
) -> Float[Array, "batch views detectors channel"]:
    """The same of a sinogram whose scanner is not known, from its own detail (`noise_level`).

    Right for white noise. Of projected images, whose noise is smooth along the detectors, it
    tells the strength of what is left at the highest frequencies.
    """
    batch, views, detectors, channels = line_integrals.shape
    apart = jnp.moveaxis(line_integrals, -1, 1).reshape(-1, views, detectors, 1)
    level = noise_level(apart).reshape(batch, channels, views, detectors)
    return jnp.moveaxis(level, 1, -1) / _HIGH_PASSED


def box_mean(x: Float[Array, "batch a b channel"], width: int) -> Float[Array, "batch a b channel"]:
    """Mean over an odd number of samples along both axes of space; the edges repeat."""
    reach = width // 2
    for axis in (1, 2):
        size = x.shape[axis]
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)]
        wide = jnp.pad(x, pad, mode="edge")
        shifts = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(width)]
        x = sum(shifts[1:], shifts[0]) / width
    return x
