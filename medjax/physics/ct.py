"""Computed tomography as differentiable JAX: projection, reconstruction, dose.

The public names of the `ct_*` files. Lengths are in mm, attenuation in 1/mm, images in HU where a
name says so.
"""

from medjax.physics.ct_dose import (
    MU_WATER,
    Bowtie,
    DoseModel,
    LowDose,
    fill_padding,
    hu_to_mu,
    low_dose,
    mu_to_hu,
    simulate_low_dose,
)
from medjax.physics.ct_fbp import Filter, fbp, filter_sinogram
from medjax.physics.ct_geometry import FanBeam, Geometry, ParallelBeam
from medjax.physics.ct_local_noise import (
    frequencies,
    local_blur,
    local_noise,
    local_noise_power,
    log_variance,
    noise_of_power,
)
from medjax.physics.ct_projector import backproject, project
from medjax.physics.ct_ray_noise import blind_ray_noise, box_mean, ray_noise
from medjax.physics.ct_ray_sums import Rays, ray_angles, ray_sums
from medjax.physics.ct_survey import survey_slice, surveyed_rays

__all__ = [
    "MU_WATER",
    "Bowtie",
    "DoseModel",
    "FanBeam",
    "Filter",
    "Geometry",
    "LowDose",
    "ParallelBeam",
    "Rays",
    "backproject",
    "blind_ray_noise",
    "box_mean",
    "fbp",
    "fill_padding",
    "filter_sinogram",
    "frequencies",
    "hu_to_mu",
    "local_blur",
    "local_noise",
    "local_noise_power",
    "log_variance",
    "low_dose",
    "mu_to_hu",
    "noise_of_power",
    "project",
    "ray_angles",
    "ray_noise",
    "ray_sums",
    "simulate_low_dose",
    "survey_slice",
    "surveyed_rays",
]
