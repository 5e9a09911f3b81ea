"""Random rotation, elastic deformation, flips and intensity changes, on the device.

Rotation and deformation are composed into one coordinate field and the image is interpolated
once: `dm_pix.rotate` followed by `dm_pix.elastic_deformation` interpolates, and so blurs, twice.
The interpolation itself is dm-pix's, linear, for images and volumes alike. Some of the images
stay unwarped, because a network that only sees interpolated targets learns to be smooth.
"""

import dataclasses
import math
from collections.abc import Sequence

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from medjax.data.elastic import LIMIT, displacement_std, elastic_displacement


@dataclasses.dataclass(frozen=True)
class Augment:
    """How training images are varied.

    Attributes:
      rotation_degrees: rotation in the slice plane, uniform within plus and minus this.
      tilt_degrees: the same about the other two axes of a volume.
      elastic_sigma: Gaussian smoothing of the displacement noise, in samples.
      elastic_alpha: displacement noise is uniform in [-alpha, alpha] before smoothing, samples.
        What is left after it: see `displacement_std`.
      warp_probability: share of images that are rotated and deformed; 3/4 makes three new
        images for each untouched one.
      flip: mirrors each axis with probability 1/2.
      gain: intensities are multiplied by a number uniform in this range.
      offset: then a number uniform in this range is added, in the image's unit.
      intensity_probability: share of images whose intensities are changed.
    """

    rotation_degrees: float = 15.0
    tilt_degrees: float = 0.0
    elastic_sigma: float = 4.0
    elastic_alpha: float = 34.0
    warp_probability: float = 0.75
    flip: bool = True
    gain: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    intensity_probability: float = 0.5

    def scaled(self, factor: float = 1.0, dims: int = 2) -> "Augment":
        """The same deformation for images `factor` times as large, or for volumes.

        Alpha and sigma count samples, so on a larger image they deform less, and in three
        dimensions smoothing leaves less of the noise: 34 becomes 128.
        """
        sigma = self.elastic_sigma * factor
        std = factor * displacement_std(self.elastic_alpha, self.elastic_sigma, 2)
        return dataclasses.replace(
            self, elastic_sigma=sigma, elastic_alpha=std / displacement_std(1.0, sigma, dims)
        )


def margin(
    config: Augment, patch: Sequence[int], spacing: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Samples to cut around a patch on every side so that `augment_and_crop` never leaves it.

    Args:
      config: what will be done.
      patch: samples along each axis after cropping.
      spacing: mm along each axis; None: the same along all. Give the most uneven of a dataset.
    """
    dims = len(patch)
    step = np.ones(dims) if spacing is None else np.asarray(spacing, float)
    half = (np.asarray(patch) - 1) / 2
    elastic = LIMIT * displacement_std(config.elastic_alpha, config.elastic_sigma, dims)
    # The farthest point is found to 0.1 % on a grid of 9 angles an axis, 0 among them.
    limits = np.deg2rad(_angle_limits(config, dims))
    grid = np.meshgrid(*[np.linspace(-a, a, 9) for a in limits])
    angles = np.stack(grid, -1).reshape(-1, len(limits)).astype(np.float32)
    with jax.ensure_compile_time_eval():
        turns = np.abs(np.asarray(jax.vmap(lambda a: _rotation(a, dims))(angles)))
    reach = 1.001 * np.max(turns @ (half * step) / step - half, axis=0)
    return tuple(math.ceil(m) for m in np.maximum(reach, 0) + elastic)


def augment(
    key: PRNGKeyArray,
    image: Float[Array, "batch *space channel"],
    config: Augment,
    spacing: Float[Array, "batch n"] | None = None,
) -> Float[Array, "batch *space channel"]:
    """Varies each image of a batch in its own way; samples from outside repeat the border.

    Args:
      key: of this step.
      image: 2-D images or volumes, any unit.
      config: what to do; nothing of it is traced.
      spacing: mm along each axis, so that a rotation is one in space; None or NaN: equal.
    """
    return augment_and_crop(key, image, (0,) * (image.ndim - 2), config, spacing)


def augment_and_crop(
    key: PRNGKeyArray,
    image: Float[Array, "batch *space channel"],
    margins: Sequence[int],
    config: Augment,
    spacing: Float[Array, "batch n"] | None = None,
) -> Float[Array, "batch *cropped channel"]:
    """`augment` for patches cut with a margin, which is removed from every side.

    With `margin(config, patch)` no sample from outside is ever needed.
    """
    dims = image.ndim - 2
    crop = tuple(n - 2 * m for n, m in zip(image.shape[1:-1], margins, strict=True))
    if min(crop) < 1:
        raise ValueError(f"margins {tuple(margins)} leave nothing of {image.shape[1:-1]}")
    if spacing is None:
        spacing = jnp.ones((len(image), dims), image.dtype)
    move_key, bend_key, when_key, intensity_key = jax.random.split(key, 4)
    when = jax.random.bernoulli(when_key, config.warp_probability, (len(image),))
    when = when.astype(jnp.float32)
    matrices = _matrices(move_key, when, config, spacing)
    bends = jnp.zeros((len(image), dims, *crop))
    if config.elastic_alpha and config.elastic_sigma:
        bends = elastic_displacement(
            bend_key, len(image), crop, config.elastic_alpha, config.elastic_sigma
        )
        bends = bends * when.reshape(-1, *[1] * (dims + 1))
    return _change_intensity(intensity_key, jax.vmap(warp)(image, matrices, bends), config)


def _matrices(
    key: PRNGKeyArray,
    when: Float[Array, " batch"],
    config: Augment,
    spacing: Float[Array, "batch n"],
) -> Float[Array, "batch n n"]:
    """From an output index to an image index, both from the centre: flip, then rotation."""
    batch, dims = spacing.shape
    turn_key, flip_key = jax.random.split(key)
    limits = jnp.deg2rad(jnp.asarray(_angle_limits(config, dims), jnp.float32))
    angles = jax.random.uniform(turn_key, (batch, len(limits)), minval=-1.0, maxval=1.0)
    turns = jax.vmap(lambda a: _rotation(a, dims))(angles * limits * when[:, None])
    # Indices count samples, the rotation is one of millimetres.
    step = jnp.where(jnp.isfinite(spacing), spacing, 1.0)
    turns = turns * step[:, None, :] / step[:, :, None]
    if not config.flip:
        return turns
    flips = jax.random.bernoulli(flip_key, shape=(batch, 1, dims))
    return turns * jnp.where(flips, -1.0, 1.0)


def warp(
    image: Float[Array, "*space channel"],
    matrix: Float[Array, "n n"],
    displacement: Float[Array, "n *out"],
) -> Float[Array, "*out channel"]:
    """Samples an image, linearly and once, at matrix * x + displacement(x).

    Args:
      image: [*space, channel].
      matrix: applied to the index of an output sample counted from the output's centre; the
        result counts from the image's centre.
      displacement: in samples of the image; its shape is the output's.
    """
    dims = len(displacement)
    axes = [jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in displacement.shape[1:]]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"))
    middle = jnp.asarray([(n - 1) / 2 for n in image.shape[:-1]], jnp.float32)
    # Full precision: a matrix product on GPU and TPU may otherwise round coordinates to 10 bits.
    where = jnp.einsum("ij,j...->i...", matrix, grid, precision="highest")
    where = where + middle.reshape(-1, *[1] * dims) + displacement
    # dm-pix mixes integer indices with float weights.
    with jax.numpy_dtype_promotion("standard"):
        sample = jax.vmap(pix.flat_nd_linear_interpolate, in_axes=(-1, None), out_axes=-1)
        return jnp.asarray(sample(image, where))


def _change_intensity(
    key: PRNGKeyArray, image: Float[Array, "batch *space channel"], config: Augment
) -> Float[Array, "batch *space channel"]:
    if config.gain == (1.0, 1.0) and config.offset == (0.0, 0.0):
        return image
    gain_key, offset_key, when_key = jax.random.split(key, 3)
    shape = (len(image), *[1] * (image.ndim - 1))
    gain = jax.random.uniform(gain_key, shape, minval=config.gain[0], maxval=config.gain[1])
    offset = jax.random.uniform(offset_key, shape, minval=config.offset[0], maxval=config.offset[1])
    when = jax.random.bernoulli(when_key, config.intensity_probability, shape)
    return jnp.where(when, image * gain + offset, image)


def _angle_limits(config: Augment, dims: int) -> tuple[float, ...]:
    if dims == 2:
        return (config.rotation_degrees,)
    return (config.rotation_degrees, config.tilt_degrees, config.tilt_degrees)


def _rotation(angles: Float[Array, " planes"], dims: int) -> Float[Array, "n n"]:
    """The product of one rotation in each plane: (y, x), and in volumes (z, x) and (z, y)."""
    planes = ((dims - 2, dims - 1), (0, 2), (0, 1))
    total = jnp.eye(dims)
    for angle, (a, b) in zip(angles, planes, strict=False):
        plane, turn = np.zeros((2, dims, dims), np.float32)
        plane[a, a] = plane[b, b] = turn[a, b] = 1.0
        turn[b, a] = -1.0
        one = jnp.eye(dims) + (jnp.cos(angle) - 1.0) * plane + jnp.sin(angle) * turn
        total = jnp.matmul(total, one, precision="highest")
    return total
