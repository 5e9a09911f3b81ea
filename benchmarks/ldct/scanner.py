"""The virtual scanner slice by slice, with noise that two versions of a slice share."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Shaped

from medjax.physics.ct import DoseModel, Filter, ParallelBeam, simulate_low_dose


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
    return np.stack(
        [
            np.asarray(scan(key, jnp.asarray(image[None, ..., None]), dose, pixel_mm))
            for key, image in zip(keys, slices, strict=True)
        ]
    )


@functools.lru_cache(maxsize=4)
def _scanner(size: int, views: int, model: DoseModel, filter: Filter):
    geometry = ParallelBeam.for_image(size, 1.0, views)

    def scan(key: jax.Array, hu: jax.Array, dose: float, pixel_mm: float) -> jax.Array:
        low = simulate_low_dose(
            key, hu, geometry, dose, model, filter, pixel_mm=pixel_mm, sampler="gaussian"
        ).low
        return low[0, ..., 0]

    return jax.jit(scan)
