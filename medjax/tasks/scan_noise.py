"""The noise of a CT slice as it came: its strength and its reconstruction kernel, measured.

What the kernel of a real scanner does is not told. Where from the noise comes is known: from rays,
each with the variance of its own photons (`physics.ct_local_noise`). So the model of the virtual
scanner without apodisation says how the noise's power turns with direction and changes from place
to place, and one radial gain, measured in flat tissue of the noisy slice itself, says the rest:
dose, kernel, detectors, slice thickness.

Of a phantom scanned through the Shepp-Logan filter the gain is within 20 % up to 6/16 cycles a
pixel (the tests repeat this); beyond, it came out a third to a half too high. What it leaves out
besides: tube current modulation, the fan, and kernels that treat directions unlike.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32
from scipy import ndimage, stats

from medjax.errors import UserError
from medjax.metrics.ct import flat_tissue_mask
from medjax.metrics.ct_noise_spectrum import (
    noise_power_spectrum,
    radial_average,
    regions_of_interest,
)
from medjax.physics.ct import (
    DoseModel,
    Rays,
    frequencies,
    local_noise_power,
    ray_angles,
    ray_sums,
)

# A real scanner's bowtie is not told. Of the chest in MEDJAX_DATA (sharp kernel, slices 12, 20, 26)
# noise made without one is 1.06, 0.89 and 0.93 times its own; with the head's 0.91, 0.62 and 0.82.
SCANNER = DoseModel(bowtie=None)
# Pixels a side of the regions; the gain has a value every 1 / REGION cycles a pixel.
REGION = 16
RINGS = REGION // 2 + 1
# Pixels over which a noisy slice is smoothed before tissue is told from it.
SMOOTHING = 4.0
# Share of a region that must be flat.
FILLED = 0.9
# Regions under which a spectrum is not trusted, and points at which the model is asked.
FEWEST, POINTS = 5, 12
# A region's trend is taken out, and with it the noise of the rings up to this one.
FIRST_MEASURED = 2


def noise_gain(
    image: Float32[np.ndarray, "y x"], pixel_mm: float, angles: int, name: str
) -> Float32[np.ndarray, " rings"]:
    """Measured noise power over that of the full-dose virtual scanner without apodisation.

    In rings `1 / REGION` cycles a pixel apart. The median over flat regions, so that those with
    structure are outvoted.

    Args:
      image: the noisy slice, HU.
      pixel_mm: size of a pixel.
      angles: directions in which the model's rays run.
      name: of the slice, for the error.

    Raises:
      UserError: the slice has too little flat soft tissue.
    """
    mask = flat_tissue_mask(image, smoothing=SMOOTHING)
    regions = regions_of_interest(image, mask, REGION, filled=FILLED)
    if len(regions) < FEWEST:
        raise UserError(
            f"case {name}: has too little flat soft tissue to measure its noise in; leave it out"
        )
    powers = [radial_average(noise_power_spectrum(r[None], (1.0, 1.0)))[1] for r in regions]
    measured = np.median(powers, axis=0) / _median_of_mean()
    # Middles of regions: at the border of the body rays are shorter and their noise is less.
    inside = np.argwhere(ndimage.uniform_filter(mask.astype(np.float64), REGION) >= FILLED - 1e-9)
    points = inside[np.linspace(0, len(inside) - 1, POINTS).round().astype(int)]
    rays = [
        ray_sums(image, pixel_mm, (float(y), float(x)), ray_angles(angles), width=REGION)
        for y, x in points
    ]
    model = full_power(
        Rays(*(np.stack(part) for part in zip(*rays, strict=True))), pixel_mm, (REGION, REGION)
    )
    gain = measured / _ring_means(np.asarray(model).mean(axis=0))
    gain[:FIRST_MEASURED] = gain[FIRST_MEASURED]
    return gain.astype(np.float32)


def full_power(
    rays: Rays, pixel_mm: Float[Array, "batch"] | float, grid: tuple[int, int]
) -> Float[Array, "batch rows half"]:
    """Noise power in HU² of `SCANNER` at full dose without apodisation."""
    return local_noise_power(rays, pixel_mm, 1.0, grid, model=SCANNER, filter="ramp")


def at_frequencies(
    gain: Float[Array, "batch rings"], grid: tuple[int, int]
) -> Float[Array, "batch rows half"]:
    """The gain at the frequencies of a real FFT over `grid` pixels, linear between the rings."""
    place = jnp.minimum(jnp.hypot(*frequencies(grid)) * REGION, RINGS - 1)
    before = jnp.minimum(jnp.floor(place), RINGS - 2)
    first, later = before.astype(jnp.int32), place - before
    return gain[:, first] * (1 - later) + gain[:, first + 1] * later


def _rings() -> Float[np.ndarray, "rows columns"]:
    f = np.fft.fftfreq(REGION) * REGION
    return np.round(np.hypot(f[:, None], f)).astype(int)


def _ring_means(half: Float[np.ndarray, "rows half"]) -> Float[np.ndarray, " rings"]:
    """Of a power over a real FFT's half plane; as `radial_average` does over the whole one."""
    y, x = np.indices((REGION, REGION))
    mirrored = x > REGION // 2
    whole = half[np.where(mirrored, -y, y) % REGION, np.where(mirrored, REGION - x, x)]
    ring = _rings()
    kept = np.hypot(*np.meshgrid(*[np.fft.fftfreq(REGION)] * 2)) <= 0.5
    return np.bincount(ring[kept], whole[kept]) / np.bincount(ring[kept])


def _median_of_mean() -> Float[np.ndarray, " rings"]:
    """Median over mean of a ring's mean power: a chi-squared number of as many freedoms as cells.

    Two cells that mirror each other share one complex number, which has two freedoms.
    """
    ring = _rings()
    kept = np.hypot(*np.meshgrid(*[np.fft.fftfreq(REGION)] * 2)) <= 0.5
    cells = np.bincount(ring[kept]).astype(float)
    return stats.chi2.median(cells) / cells
