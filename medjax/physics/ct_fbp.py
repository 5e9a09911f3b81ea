"""Filtered backprojection (Kak & Slaney, Principles of Computerized Tomographic Imaging, ch. 3)."""

import math
from typing import Literal, TypeVar, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from medjax.physics.ct_geometry import Geometry, PixelGeometry
from medjax.physics.ct_projector import check_sinogram, columns, scale, uncolumns
from medjax.physics.ct_rays import adjoint_pair

Filter = Literal["ramp", "shepp-logan", "hann"]
AnyArray = TypeVar("AnyArray", np.ndarray, Array)

_, _backproject_linear = adjoint_pair("linear")


def fbp(
    geometry: Geometry,
    sinogram: Float[Array, "batch views detectors channel"],
    filter: Filter = "hann",
    cutoff: float = 1.0,
    pixel_mm: Float[Array, "batch"] | float | None = None,
) -> Float[Array, "batch n n channel"]:
    """Attenuation in 1/mm from line integrals.

    `filter` softens the ramp, `cutoff` is where it ends as a fraction of the detectors' Nyquist
    frequency; both are static. Linear in the sinogram, with an exact transpose, so it can sit
    between two networks. `pixel_mm` as in `ct_projector.project`. Raises ValueError for a sinogram
    of another shape or an unknown filter.
    """
    check_sinogram(geometry, sinogram)
    filtered = filter_sinogram(geometry, sinogram, filter, cutoff)
    image = _backproject_linear(geometry.in_pixels(), columns(filtered))
    return uncolumns(image, sinogram.shape[0]) / scale(geometry, pixel_mm)


def filter_sinogram(
    geometry: Geometry,
    sinogram: Float[Array, "batch views detectors channel"],
    filter: Filter = "hann",
    cutoff: float = 1.0,
) -> Float[Array, "batch views detectors channel"]:
    """Ramp-filtered views, in 1/pixel: all of `fbp` but the backprojection."""
    g = geometry.in_pixels()
    weight = np.full(g.detectors, np.pi / g.views)
    if g.source is not None:
        weight *= g.source / np.hypot(g.source, g.offsets())
    length = 1 << math.ceil(math.log2(2 * g.detectors))
    response = jnp.asarray(_response(g, length, filter, cutoff), jnp.complex64)
    # The FFT runs over the last axis: XLA's only good one on CPU.
    rows = jnp.moveaxis(jnp.asarray(sinogram, jnp.float32), 2, -1) * jnp.asarray(
        weight, jnp.float32
    )
    spectrum = jnp.fft.rfft(rows, length) * response
    return jnp.moveaxis(jnp.fft.irfft(spectrum, length)[..., : g.detectors], -1, 2)


def apodisation(filter: Filter, cutoff: float, frequency: AnyArray) -> AnyArray:
    """What multiplies the ramp at `frequency`, in cycles a detector (Nyquist: 0.5).

    Of NumPy's arrays as of JAX's. Raises ValueError for an unknown filter or a cutoff outside
    (0, 1].
    """
    if filter not in get_args(Filter):
        raise ValueError(f"unknown filter {filter!r}; there are {', '.join(get_args(Filter))}")
    if not 0 < cutoff <= 1:
        raise ValueError(f"cutoff={cutoff} is not in (0, 1]")
    xp = frequency.__array_namespace__()
    f = xp.abs(frequency) / cutoff
    window = {
        "ramp": xp.ones_like(f),
        "shepp-logan": xp.sinc(f),
        "hann": 0.5 + 0.5 * xp.cos(2 * np.pi * f),
    }[filter]
    return xp.where(f <= 0.5, window, 0.0)


def _response(g: PixelGeometry, length: int, filter: Filter, cutoff: float) -> np.ndarray:
    """Frequency response in 1/pixel; the ramp is sampled in space, which keeps its mean right."""
    n = np.fft.fftfreq(length, 1 / length)
    odd = n % 2 == 1
    ramp = np.zeros(length)
    ramp[0] = 0.25
    ramp[odd] = -1 / (np.pi * n[odd]) ** 2
    spectrum = np.fft.rfft(ramp).real / g.spacing
    return spectrum * apodisation(filter, cutoff, np.fft.rfftfreq(length))
