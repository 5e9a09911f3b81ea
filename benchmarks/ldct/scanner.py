"""The virtual scanner slice by slice, with noise that two versions of a slice share."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Shaped

from medjax.physics.ct import DoseModel, Filter, ParallelBeam, ray_noise, simulate_low_dose


class Scanned(NamedTuple):
    """One slice as the scanner saw it.

    Attributes:
      image: reconstructed, HU.
      sinogram: the line integrals that it was made of.
      level: their standard deviation.
    """

    image: Float32[np.ndarray, "y x"]
    sinogram: Float32[np.ndarray, "views detectors"]
    level: Float32[np.ndarray, "views detectors"]


def scan_slices(
    slices: Sequence[Shaped[np.ndarray, "y x"]],
    pixel_mm: float,
    dose: float,
    seed: int,
    *,
    model: DoseModel | None = None,
    views: int = 720,
    filter: Filter = "hann",
) -> Float32[np.ndarray, "slice y x"]:
    """The reconstructions of `scan_with_rays`."""
    scans = scan_with_rays(slices, pixel_mm, dose, seed, model=model, views=views, filter=filter)
    return np.stack([scan.image for scan in scans])


def scan_with_rays(
    slices: Sequence[Shaped[np.ndarray, "y x"]],
    pixel_mm: float,
    dose: float,
    seed: int,
    *,
    model: DoseModel | None = None,
    views: int = 720,
    filter: Filter = "hann",
) -> Iterator[Scanned]:
    """Square slices in HU scanned at a dose, one after the other, each with noise of its own.

    The same seed gives the same noise, scaled as each slice asks for: normal numbers, not Poisson
    counts, which would not follow a small change of the object smoothly.

    Args:
      slices: square, HU.
      pixel_mm: of all of them.
      dose: fraction of full dose.
      seed: of the noise.
      model: photons, electronic noise and bowtie.
      views: projections over half a turn.
      filter: reconstruction filter.
    """
    scan = _scanner(len(slices[0]), views, DoseModel() if model is None else model, filter)
    keys = jax.random.split(jax.random.key(seed), len(slices))
    for key, image in zip(keys, slices, strict=True):
        seen = scan(key, jnp.asarray(image[None, ..., None]), dose, pixel_mm)
        yield Scanned(*(np.asarray(part)[0, ..., 0] for part in seen))


def noise_free(
    image: Shaped[np.ndarray, "y x"], pixel_mm: float, *, views: int = 720, filter: Filter = "hann"
) -> Float32[np.ndarray, "y x"]:
    """The same scanner's reconstruction of a square slice in HU without any noise."""
    scan = _noise_free(len(image), views, filter)
    return np.asarray(scan(jnp.asarray(image[None, ..., None]), pixel_mm))[0, ..., 0]


@functools.lru_cache(maxsize=4)
def _scanner(size: int, views: int, model: DoseModel, filter: Filter):
    geometry = ParallelBeam.for_image(size, 1.0, views)

    def scan(key: jax.Array, hu: jax.Array, dose: float, pixel_mm: float) -> tuple[jax.Array, ...]:
        seen = simulate_low_dose(
            key, hu, geometry, dose, model, filter, pixel_mm=pixel_mm, sampler="gaussian"
        )
        offset = jnp.asarray(geometry.ray_offsets_mm()[:, np.newaxis], jnp.float32) * pixel_mm
        return seen.low, seen.sinogram, ray_noise(seen.sinogram, dose, model, offset)

    return jax.jit(scan)


@functools.lru_cache(maxsize=4)
def _noise_free(size: int, views: int, filter: Filter):
    geometry = ParallelBeam.for_image(size, 1.0, views)

    def scan(hu: jax.Array, pixel_mm: float) -> jax.Array:
        key = jax.random.key(0)
        return simulate_low_dose(
            key, hu, geometry, 1.0, filter=filter, pixel_mm=pixel_mm, sampler="gaussian"
        ).full

    return jax.jit(scan)
