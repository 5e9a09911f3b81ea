"""Joseph projector and its exact adjoint: line integrals of an image in 1/mm.

Differentiable to any order: each of the two is the other's vector-Jacobian product. Runs under jit
and vmap; geometries are static.

Seconds for 512² pixels, 720 views, 736 detectors, by `python -m benchmarks.projector` on two idle
x86 cores: projection 0.33 (scikit-image 6.1× that, ASTRA's CPU code 2.4×), FBP 0.24 (5.5×, 3.0×);
an image of a batch of four, with `--batch 4`: 0.26 (7.5×, 3.0×) and 0.11 (12.2×, 6.5×). The other
two use one core: in processor time projection is 3.2× and 1.3×, FBP 3.1× and 1.6×.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.physics.ct_geometry import Geometry
from medjax.physics.ct_rays import adjoint_pair

_forward, _adjoint = adjoint_pair("joseph")


def project(
    geometry: Geometry,
    mu: Float[Array, "batch n n channel"],
    pixel_mm: Float[Array, "batch"] | float | None = None,
) -> Float[Array, "batch views detectors channel"]:
    """Line integrals (no unit) of attenuation `mu` in 1/mm along every ray.

    `pixel_mm`, where given, may be traced and one a sample: it scales the whole geometry, so that
    scans of one matrix size share a compile. Raises ValueError when the image does not have the
    geometry's size.
    """
    n = geometry.image_size
    if mu.ndim != 4 or mu.shape[1:3] != (n, n):
        raise ValueError(f"expected an image [batch, {n}, {n}, channel], got {mu.shape}")
    sinogram = _forward(geometry.in_pixels(), columns(mu))
    return uncolumns(sinogram, mu.shape[0]) * scale(geometry, pixel_mm)


def backproject(
    geometry: Geometry,
    sinogram: Float[Array, "batch views detectors channel"],
    pixel_mm: Float[Array, "batch"] | float | None = None,
) -> Float[Array, "batch n n channel"]:
    """The exact adjoint of `project`: ⟨project(x), y⟩ = ⟨x, backproject(y)⟩; unit mm.

    Not a reconstruction; see `ct_fbp.fbp` for that.
    """
    check_sinogram(geometry, sinogram)
    image = _adjoint(geometry.in_pixels(), columns(sinogram))
    return uncolumns(image, sinogram.shape[0]) * scale(geometry, pixel_mm)


def scale(geometry: Geometry, pixel_mm: Float[Array, "batch"] | float | None) -> Array:
    """Millimetres a pixel, shaped to multiply [batch, ., ., channel]."""
    mm = jnp.asarray(geometry.pixel_mm if pixel_mm is None else pixel_mm, jnp.float32)
    return mm.reshape(-1, 1, 1, 1)


def check_sinogram(geometry: Geometry, sinogram: Float[Array, "batch views detectors ch"]) -> None:
    """Raises ValueError when the sinogram does not have the geometry's shape."""
    expected = (geometry.views, geometry.detectors)
    if sinogram.ndim != 4 or sinogram.shape[1:3] != expected:
        raise ValueError(
            f"expected a sinogram [batch, {expected[0]}, {expected[1]}, channel], "
            f"got {sinogram.shape}"
        )


def columns(x: Float[Array, "batch a b channel"]) -> Float[Array, "a b k"]:
    """Batch and channels gathered into the last axis."""
    x = jnp.asarray(x, jnp.float32)
    return jnp.moveaxis(x, 0, 2).reshape(*x.shape[1:3], -1)


def uncolumns(x: Float[Array, "a b k"], batch: int) -> Float[Array, "batch a b channel"]:
    """The inverse of `columns`."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], batch, -1), 2, 0)
