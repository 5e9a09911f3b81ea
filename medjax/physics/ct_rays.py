"""Two gathers over one footprint: the engine under projection and backprojection.

An operator between image and sinogram is given by its *footprint* w(pixel, ray). `ray_driven` sums,
for every ray, over the pixels under its footprint; `pixel_driven` sums, for every pixel, over the
rays whose footprint covers it. Both evaluate the same formula, so they are each other's exact
adjoint, and neither scatters, which accelerators and XLA on CPU do badly.

- "joseph": linear interpolation of the image between the two pixels beside the ray, in every row
  (or column) that it crosses (Joseph, IEEE Trans. Med. Imaging 1982). Its ray-driven form is the
  forward projector.
- "linear": linear interpolation of the sinogram between the two detectors beside the pixel's
  shadow, weighted by 1/U² in a fan. Its pixel-driven form is the backprojector of FBP.

Arrays here are [N, N, K] and [views, detectors, K], lengths are in pixels; `K` gathers batch and
channels.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from medjax.physics.ct_geometry import PixelGeometry

Footprint = Literal["joseph", "linear"]

# Views worked on together: enough to keep the cores busy, few enough to keep memory flat.
_CHUNK = 8


Operator = Callable[[PixelGeometry, Array], Array]


def adjoint_pair(footprint: Footprint) -> tuple[Operator, Operator]:
    """The ray-driven and the pixel-driven operator, each the other's vector-Jacobian product."""

    def to_rays(g: PixelGeometry, image: Array) -> Array:
        return ray_driven(g, footprint, image)

    def to_pixels(g: PixelGeometry, sinogram: Array) -> Array:
        return pixel_driven(g, footprint, sinogram)

    rays = jax.custom_vjp(to_rays, nondiff_argnums=(0,))
    pixels = jax.custom_vjp(to_pixels, nondiff_argnums=(0,))
    rays.defvjp(lambda g, x: (rays(g, x), None), lambda g, _, y: (pixels(g, y),))
    pixels.defvjp(lambda g, y: (pixels(g, y), None), lambda g, _, x: (rays(g, x),))
    return rays, pixels


@functools.partial(jax.jit, static_argnums=(0, 1))
def ray_driven(
    g: PixelGeometry, footprint: Footprint, image: Float[Array, "n n k"]
) -> Float[Array, "views detectors k"]:
    """For every ray the sum of w(pixel, ray)·image(pixel)."""
    n = g.size
    # Rays are walked along their steeper axis, so flat ones read the transposed image. One zero
    # pixel at both ends of each line takes the reads that fall beside the image.
    frame = ((0, 0), (1, 1), (0, 0))
    lines = jnp.concatenate([jnp.pad(image, frame), jnp.pad(image.swapaxes(0, 1), frame)])
    flat = lines.reshape(-1, image.shape[-1])
    along = jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2
    row = jnp.arange(n) * (n + 2) + 1
    sd = _detectors(g)[:, None]
    reach = _pixel_reach(g, footprint)

    def view(cs: Float[Array, "2"]) -> Float[Array, "detectors k"]:
        cos, sin = cs
        qx, qy = _direction(g, sd, cos, sin)
        steep = jnp.abs(qy) >= jnp.abs(qx)
        e_minor, e_major = jnp.where(steep, cos, sin), jnp.where(steep, sin, cos)
        slope = jnp.where(steep, qx, qy) / jnp.where(steep, qy, qx)
        first = jnp.floor(sd * (e_minor - e_major * slope) + along * slope + (n - 1) / 2)
        start = jnp.where(steep, 0, n * (n + 2)) + row
        total = jnp.zeros((), jnp.float32)
        for tap in range(1 - reach, reach + 1):
            index = jnp.clip(first + tap, -1, n)
            minor = index - (n - 1) / 2
            x, y = jnp.where(steep, minor, along), jnp.where(steep, along, minor)
            weight = _hat(g, footprint, x, y, sd, cos, sin)
            total += _take(flat, start + index.astype(jnp.int32)) * weight[..., None]
        return total.sum(1) * _ray_weight(g, footprint, sd, cos, sin)

    sinogram = jax.lax.map(jax.vmap(view), _cos_sin(g))
    return sinogram.reshape(-1, *sinogram.shape[2:])[: g.views]


@functools.partial(jax.jit, static_argnums=(0, 1))
def pixel_driven(
    g: PixelGeometry, footprint: Footprint, sinogram: Float[Array, "views detectors k"]
) -> Float[Array, "n n k"]:
    """For every pixel the sum of w(pixel, ray)·sinogram(ray)."""
    n, k = g.size, sinogram.shape[-1]
    along = jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2
    x, y = along[None, :], along[:, None]
    # A ring of zero detectors takes the reads that fall beside the row.
    readings = jnp.pad(sinogram, ((0, _spare_views(g)), (1, 1), (0, 0)))
    rays = jnp.pad(_detectors(g), 1)[:, None]
    reach = _detector_reach(g, footprint)

    def view(cs: Float[Array, "2"], readings: Float[Array, "detectors+2 k"]):
        cos, sin = cs
        readings = readings * _ray_weight(g, footprint, rays, cos, sin)
        s, depth = _shadow(g, x, y, cos, sin)
        first = jnp.floor(s / depth / g.spacing + (g.detectors - 1) / 2)
        total = jnp.zeros((), jnp.float32)
        for tap in range(1 - reach, reach + 1):
            index = jnp.clip(first + tap, -1, g.detectors)
            sd = (index - (g.detectors - 1) / 2) * g.spacing
            weight = _hat(g, footprint, x, y, sd, cos, sin)
            total += _take(readings, index.astype(jnp.int32) + 1) * weight[..., None]
        return total

    def chunk(total: Float[Array, "n n k"], views: tuple[Array, Array]):
        return total + jax.vmap(view)(*views).sum(0), None

    views = _cos_sin(g), _chunks(g, readings)
    return jax.lax.scan(chunk, jnp.zeros((n, n, k), jnp.float32), views)[0]


def _hat(g: PixelGeometry, footprint: Footprint, x, y, sd, cos, sin) -> Array:
    """The footprint of pixel (x, y) and the ray at detector offset sd, but for `_ray_weight`."""
    s, depth = _shadow(g, x, y, cos, sin)
    away = jnp.abs(s - depth * sd)
    if footprint == "linear":
        return jnp.maximum(0, 1 - away / (depth * g.spacing)) / (depth * depth)
    qx, qy = _direction(g, sd, cos, sin)
    # The distance from pixel to ray along the row, or the column where the ray is flat.
    return jnp.maximum(0, 1 - away / jnp.maximum(jnp.abs(qx), jnp.abs(qy)))


def _ray_weight(g: PixelGeometry, footprint: Footprint, sd, cos, sin) -> Array | float:
    """The footprint's factor that depends on the ray alone: Joseph's length between rows."""
    if footprint == "linear":
        return 1.0
    qx, qy = _direction(g, sd, cos, sin)
    return jnp.sqrt(qx * qx + qy * qy) / jnp.maximum(jnp.abs(qx), jnp.abs(qy))


def _shadow(g: PixelGeometry, x, y, cos, sin) -> tuple[Array, Array | float]:
    """Position along the detector axis, and depth from the source in units of the isocentre's."""
    s = x * cos + y * sin
    if g.source is None:
        return s, 1.0
    return s, 1 + (y * cos - x * sin) / g.source


def _direction(g: PixelGeometry, sd, cos, sin) -> tuple[Array, Array]:
    """Direction of a ray, scaled to one unit along the central ray."""
    lean = 0.0 if g.source is None else sd / g.source
    return lean * cos - sin, lean * sin + cos


def _pixel_reach(g: PixelGeometry, footprint: Footprint) -> int:
    """Pixels to either side of a ray that its footprint can touch."""
    if footprint == "joseph":
        return 1
    nearest_to_detector = 1 if g.source is None else 1 + _radius(g) / g.source
    return math.ceil(math.sqrt(2) * g.spacing * nearest_to_detector * 1.01)


def _detector_reach(g: PixelGeometry, footprint: Footprint) -> int:
    """Detectors to either side of a pixel's shadow whose footprint can touch the pixel."""
    if footprint == "linear":
        return 1
    if g.source is None:
        return math.ceil(1 / g.spacing - 1e-6)
    # Rays crowd near the source, and lean where the fan is wide.
    nearest_to_source = 1 - _radius(g) / g.source
    cos_fan = math.cos(math.asin(_radius(g) / g.source))
    return math.ceil(1 / (g.spacing * nearest_to_source * cos_fan) - 1e-6)


def _radius(g: PixelGeometry) -> float:
    return (g.size / 2 + 1) * math.sqrt(2)


def _detectors(g: PixelGeometry) -> Float[Array, "detectors"]:
    return jnp.asarray(g.offsets(), jnp.float32)


def _cos_sin(g: PixelGeometry) -> Float[Array, "chunks chunk 2"]:
    angles = np.pad(g.angles(), (0, _spare_views(g)))
    return _chunks(g, jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1), jnp.float32))


def _chunks(g: PixelGeometry, views: Float[Array, "filled ..."]) -> Float[Array, "chunks ..."]:
    return views.reshape(-1, min(_CHUNK, g.views), *views.shape[1:])


def _spare_views(g: PixelGeometry) -> int:
    """Views of nothing that fill up the last chunk."""
    return -g.views % min(_CHUNK, g.views)


def _take(flat: Float[Array, "m k"], index: Int[Array, "..."]) -> Float[Array, "... k"]:
    return flat.at[index].get(mode="promise_in_bounds")
