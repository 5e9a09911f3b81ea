"""Low-dose CT from a routine scan: Hounsfield units to counts, noise, and back.

Counts of a ray are y ~ Poisson(a·I0·b·e^{−p}) + N(0, σe²) for dose fraction a, photons I0 and
bowtie transmission b; the scanner reads p̂ = −ln(max(y, ε)/(a·I0·b)).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from medjax.physics.ct_fbp import Filter, fbp
from medjax.physics.ct_geometry import Geometry
from medjax.physics.ct_projector import project, scale

# Attenuation of water at the effective energy of a 120 kV beam, 1/mm.
MU_WATER = 0.02

# Below this lies no tissue: scanners write −2000 and −3024 outside their field of view.
PADDING_HU = -1024.0
AIR_HU = -1000.0


@dataclass(frozen=True)
class Bowtie:
    """A filter that evens out a round patient: thicker towards the fan's edge.

    Transmission of the ray at offset s from the isocentre is exp(−strength·μw·(D − d(s))), where
    d(s) is the ray's path through a cylinder of water of `radius_mm` and D the cylinder's diameter.
    The central ray passes freely; strength 1 would make that cylinder cast a flat shadow.
    """

    radius_mm: float = 120.0
    strength: float = 0.45

    def transmission(self, offset_mm: Float[Array, "..."]) -> Float[Array, "..."]:
        half_path = jnp.sqrt(jnp.maximum(self.radius_mm**2 - offset_mm**2, 0.0))
        return jnp.exp(-self.strength * MU_WATER * 2 * (self.radius_mm - half_path))


@dataclass(frozen=True)
class DoseModel:
    """Counts of photons a ray at full dose and of electronic noise, the bowtie, the least count.

    The defaults give a routine abdomen: about 10 HU at full dose through the Hann filter, 20–25 HU
    at a quarter. `bowtie=None` sends the same beam down every ray.
    """

    photons: float = 1e6
    electronic_sigma: float = 10.0
    bowtie: Bowtie | None = field(default_factory=Bowtie)
    count_floor: float = 1.0

    def blank(self, offset_mm: Float[Array, "..."], dose: Float[Array, "..."]) -> Array:
        """Expected counts with nothing in the beam."""
        flat = self.photons * jnp.asarray(dose, jnp.float32)
        return flat if self.bowtie is None else flat * self.bowtie.transmission(offset_mm)


class LowDose(NamedTuple):
    """What `simulate_low_dose` returns: two reconstructions in HU and their line integrals."""

    low: Float[Array, "batch n n channel"]
    full: Float[Array, "batch n n channel"]
    sinogram: Float[Array, "batch views detectors channel"]
    """Noisy, as `low` was made of."""
    clean_sinogram: Float[Array, "batch views detectors channel"]
    """Noise-free, as `full` was."""


def hu_to_mu(hu: Float[Array, "..."]) -> Float[Array, "..."]:
    """Attenuation in 1/mm."""
    return MU_WATER * (1 + hu / 1000)


def mu_to_hu(mu: Float[Array, "..."]) -> Float[Array, "..."]:
    """Hounsfield units of attenuation in 1/mm."""
    return (mu / MU_WATER - 1) * 1000


def fill_padding(hu: Float[Array, "..."]) -> Float[Array, "..."]:
    """Air in place of the values that scanners write outside their field of view."""
    return jnp.where(hu < PADDING_HU, AIR_HU, hu)


def low_dose(
    key: Key[Array, ""],
    line_integrals: Float[Array, "batch views detectors channel"],
    dose: Float[Array, "batch"] | float,
    model: DoseModel,
    offset_mm: Float[Array, "batch 1 detectors 1"] | Float[Array, "detectors 1"] | float = 0.0,
    sampler: Literal["poisson", "gaussian"] = "poisson",
) -> Float[Array, "batch views detectors channel"]:
    """Log projections of a scan at the fraction `dose` of full dose (traced, scalar or a sample's).

    `offset_mm` is each ray's distance from the isocentre, for the bowtie. "poisson" is exact;
    "gaussian" has the same mean and variance of the counts, several times faster.
    Differentiable in `line_integrals` only with "gaussian".
    """
    dose = jnp.asarray(dose, jnp.float32).reshape(-1, 1, 1, 1)
    blank = model.blank(jnp.asarray(offset_mm, jnp.float32), dose)
    expected = blank * jnp.exp(-line_integrals)
    photon_key, electron_key = jax.random.split(key)
    if sampler == "poisson":
        counts = jax.random.poisson(photon_key, expected).astype(jnp.float32)
    else:
        noise = jax.random.normal(photon_key, expected.shape)
        counts = expected + jnp.sqrt(expected) * noise
    counts += model.electronic_sigma * jax.random.normal(electron_key, expected.shape)
    return -jnp.log(jnp.maximum(counts, model.count_floor) / blank)


def simulate_low_dose(
    key: Key[Array, ""],
    hu: Float[Array, "batch n n channel"],
    geometry: Geometry,
    dose: Float[Array, "batch"] | float,
    model: DoseModel | None = None,
    filter: Filter = "hann",
    cutoff: float = 1.0,
    pixel_mm: Float[Array, "batch"] | float | None = None,
    sampler: Literal["poisson", "gaussian"] = "poisson",
) -> LowDose:
    """Scan a slice in HU with a virtual scanner at the fraction `dose` of full dose.

    `low` is the reconstruction of the noisy projections, `full` that of the noise-free ones by the
    same scanner, so that the two differ in noise alone. Padding below −1024 HU becomes air. Jit
    with geometry, model, filter, cutoff and sampler static; `pixel_mm` as in
    `ct_projector.project`.
    """
    model = DoseModel() if model is None else model
    clean = project(geometry, hu_to_mu(fill_padding(hu)), pixel_mm)
    stretch = scale(geometry, pixel_mm) / geometry.pixel_mm
    offset = jnp.asarray(geometry.ray_offsets_mm()[:, np.newaxis], jnp.float32) * stretch
    noisy = low_dose(key, clean, dose, model, offset, sampler)
    reconstructions = fbp(geometry, jnp.concatenate([noisy, clean], -1), filter, cutoff, pixel_mm)
    low, full = jnp.split(mu_to_hu(reconstructions), 2, axis=-1)
    return LowDose(low, full, noisy, clean)
