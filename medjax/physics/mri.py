"""How MR scans go wrong: motion in k-space, fewer samples, uneven coils, Rician noise."""

from medjax.physics.mri_field import bias_field, rician
from medjax.physics.mri_motion import (
    MotionModel,
    Poses,
    corrupt,
    draw_poses,
    kspace_of_moving,
    rotate,
    segment_of_line,
)
from medjax.physics.mri_sampling import line_mask, poisson_disc_mask, zero_filled

__all__ = [
    "MotionModel",
    "Poses",
    "bias_field",
    "corrupt",
    "draw_poses",
    "kspace_of_moving",
    "line_mask",
    "poisson_disc_mask",
    "rician",
    "rotate",
    "segment_of_line",
    "zero_filled",
]
