"""How fundus photographs go wrong: defocus, uneven illumination, sensor noise.

The parts and their order follow Shen et al., "Modeling and enhancing low-quality retinal fundus
images", IEEE TMI 2021 (arXiv:2005.05594). Images are `[batch, y, x, 1]` with 0 black and 1 the
sensor's white. Light is dimmed, then blurred by the optics, then counted by the sensor. Everything
is differentiable but the noise's draw, and stationary: a patch is degraded as its whole image is.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Image = Float[Array, "batch y x 1"]
PerImage = Float[Array, " batch"]

WAVES = 16
# Of the blur's kernel, in standard deviations; 3 holds 99.7 % of it.
REACH = 3.0


class Faults(NamedTuple):
    """How bad each image of a batch is; one number an image."""

    blur: PerImage
    """Standard deviation of the defocus in pixels."""
    shade: PerImage
    """Standard deviation of the logarithm of the illumination over the image."""
    noise: PerImage
    """Standard deviation of the noise at white, as a fraction of white."""


class Degraded(NamedTuple):
    """A degraded batch, with the noise apart."""

    image: Image
    """What the camera stores, cut to black and white."""
    noiseless: Image
    """The same light without noise."""


def degrade(
    key: Key[Array, ""], clean: Image, faults: Faults, *, scale: float, max_blur: float
) -> Degraded:
    """Shades, defocuses and photographs an image anew.

    Args:
      key: of illumination and noise.
      clean: what a well-set camera stores.
      faults: how bad each image is.
      scale: shortest wavelength of the illumination in pixels.
      max_blur: upper bound of `faults.blur`; fixes the size of the kernel.
    """
    light, shot = jax.random.split(key)
    field = smooth_field(light, clean.shape, scale)
    shaded = clean * jnp.exp(_spread(faults.shade) * field)
    noiseless = defocus(shaded, faults.blur, max_blur)
    noisy = noiseless + sensor_noise(shot, noiseless, faults.noise)
    return Degraded(jnp.clip(noisy, 0.0, 1.0), noiseless)


def defocus(image: Image, blur: PerImage, max_blur: float) -> Image:
    """Gaussian blur with a standard deviation of `blur` pixels an image; 0 leaves it sharp.

    A camera out of focus has the pupil's disc for a kernel; the eye's aberrations and its motion
    round that off. Samples from outside repeat the border.

    Args:
      image: any range of values.
      blur: at most `max_blur`; kernels reach 3 max_blur whatever the blur.
      max_blur: static.
    """
    reach = math.ceil(REACH * max_blur)
    # Under a tenth of a pixel no neighbour has weight, and 0 must not divide.
    spread = jnp.maximum(blur, 0.1)[:, None, None]
    for axis in (1, 2):
        size = image.shape[axis]
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        wide = jnp.pad(image, pads, mode="edge")
        inner = jnp.arange(size, dtype=jnp.float32)[:, None]
        offsets = jnp.arange(size + 2 * reach, dtype=jnp.float32) - inner - reach
        near = (jnp.abs(offsets) <= reach).astype(jnp.float32)
        weights = near * jnp.exp(-0.5 * jnp.square(offsets / spread))
        weights = weights / jnp.sum(weights, axis=2, keepdims=True)
        along = "bij,bjxc->bixc" if axis == 1 else "bij,bxjc->bxic"
        # A matrix product on GPU and TPU may otherwise round to 10 bits.
        image = jnp.einsum(along, weights, wide, precision="highest")
    return image


def smooth_field(key: Key[Array, ""], shape: tuple[int, ...], scale: float) -> Image:
    """A random field of mean 0 and variance 1 with no wave shorter than `scale` pixels.

    A sum of `WAVES` plane waves of random direction, length and phase: near a Gaussian process,
    and the same process on patches of any size.
    """
    batch, rows, columns, _ = shape
    turn, length, phase = jax.random.split(key, 3)
    many = (batch, WAVES)
    angles = jax.random.uniform(turn, many, maxval=2 * math.pi)
    # Uniform over the disc of wave vectors, so that long waves are not all.
    radius = 2 * math.pi / scale * jnp.sqrt(jax.random.uniform(length, many))
    phases = jax.random.uniform(phase, many, maxval=2 * math.pi)
    y, x = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in (rows, columns))
    across = (radius * jnp.sin(angles))[..., None] * y
    along = (radius * jnp.cos(angles))[..., None] * x + phases[..., None]

    def product(a: Array, b: Array) -> Array:
        return jnp.einsum("bwy,bwx->byx", a, b, precision="highest")

    # The cosine of a sum: a matrix product instead of a cosine a pixel and wave.
    field = product(jnp.cos(across), jnp.cos(along)) - product(jnp.sin(across), jnp.sin(along))
    return field[..., None] * math.sqrt(2 / WAVES)


def sensor_noise(key: Key[Array, ""], light: Image, noise: PerImage) -> Image:
    """Normal noise whose variance rises with the light, as that of counted photons.

    At white its standard deviation is `noise`, at black a third of it (read-out).
    """
    share = 1 / 9 + 8 / 9 * jnp.clip(light, 0.0, 1.0)
    return _spread(noise) * jnp.sqrt(share) * jax.random.normal(key, light.shape)


def _spread(numbers: PerImage) -> Float[Array, "batch 1 1 1"]:
    return numbers[:, None, None, None]
