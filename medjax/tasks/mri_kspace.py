"""MRI motion where k-space was kept: physics finds the poses, a network undoes what they leave."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex64, Float, Float32, PRNGKeyArray
from scipy import ndimage

from medjax.metrics.mri import head_mask
from medjax.physics.mri import Poses, bias_field, draw_poses, kspace_of_moving, line_mask
from medjax.physics.mri_motion import along
from medjax.physics.mri_poses import PoseSearch, find_poses
from medjax.physics.mri_reconstruction import reconstruct
from medjax.tasks.base import Case, Record
from medjax.tasks.mri_motion import MRIMotion

CORRECTED = "poses from k-space"
# Around the head in the degraded image, whose edge motion blurs.
OUTLINE_MM = 8.0
_kspace_of_moving = jax.jit(kspace_of_moving, static_argnums=3)


class Acquisition(NamedTuple):
    """A moving head's scan, with what only a simulation knows."""

    kspace: Complex64[np.ndarray, "z y x"]
    """As `jnp.fft.fftn` orders it, 0 where it was not acquired."""
    spacing_mm: Float32[np.ndarray, " 3"]
    reference: Float32[np.ndarray, "z y x"]
    """The head at rest."""
    degraded: Float32[np.ndarray, "z y x"]
    """The magnitude of k-space's transform."""
    poses: Poses
    """The true ones."""

    @property
    def outline(self) -> Bool[np.ndarray, "z y x"]:
        """Where the head may be, by the degraded image."""
        away = ndimage.distance_transform_edt(~head_mask(self.degraded), self.spacing_mm)
        return np.asarray(away) <= OUTLINE_MM


@dataclasses.dataclass(frozen=True)
class MRIKSpaceMotion(MRIMotion):
    """Undo rigid motion in two steps: poses found from k-space, then a network.

    Held-out scans keep their k-space. `physics.mri_poses` finds the poses from it and
    reconstructs the image, which is a row of its own and what the network is given. In training
    the network sees the motion that such a search leaves, by `severity`. An image without
    k-space, as in `medjax restore`, goes to the network as it is, which undoes no large motion.

    The search takes the object as real, that is, its phase as removed, and the order of the
    segments as known.

    Attributes:
      severity: in training, both standard deviations of the motion are multiplied by a number
        uniform in this range.
      search: for the poses.
    """

    severity: tuple[float, float] = (0.0, 0.05)
    search: PoseSearch = PoseSearch()

    @property
    def note(self) -> str:
        return (
            f"{super().note} Poses are found from k-space, whose phase and order of lines are "
            "known; the network is given that image, and its time does not hold the search's."
        )

    def noisy(
        self, key: PRNGKeyArray, image: Float[Array, "batch *space 1"]
    ) -> Float[Array, "batch *space 1"]:
        # Of a real image, which a reconstruction gives back, and not of its magnitude.
        return image + self.noise * jax.random.normal(key, image.shape, image.dtype)

    def simulate(self, record: Record, seed: int) -> Case:
        return self.case_of(record, self.acquire(record, seed))

    def case_of(self, record: Record, scan: Acquisition) -> Case:
        """The case that this scan of the record is."""
        noise = float(np.std((scan.degraded - scan.reference)[head_mask(scan.reference)]))
        correct = functools.cache(lambda: self.correct(scan))
        return Case(
            record["case"],
            scan.degraded,
            scan.reference,
            noise,
            tuple(record["spacing"].tolist()),
            given=correct,
            corrections={CORRECTED: correct},
        )

    def acquire(self, record: Record, seed: int) -> Acquisition:
        """This scan, moving by random poses."""
        motion_key, noise_key = jax.random.split(jax.random.key(seed))
        reference, _ = self.normalise(record["image"])
        spacing = np.asarray(record["spacing"], np.float32)
        poses = draw_poses(motion_key, self.motion, self.dims)
        kspace = self._acquired((motion_key, noise_key), reference, poses, spacing)
        degraded = np.abs(np.fft.ifftn(kspace)).astype(np.float32)
        return Acquisition(kspace, spacing, reference, degraded, poses)

    def correct(self, scan: Acquisition) -> Float32[np.ndarray, "z y x"]:
        """The image in the poses that explain k-space best, of a head inside its outline."""
        return self.reconstruct(scan, self.poses(scan))

    def poses(self, scan: Acquisition) -> Poses:
        """Those that explain k-space best; the true ones are not looked at."""
        axis, segments, outline = self.phase_axis, self.motion.segments, scan.outline
        return find_poses(scan.kspace, scan.spacing_mm, axis, segments, outline, self.search)

    def reconstruct(self, scan: Acquisition, poses: Poses) -> Float32[np.ndarray, "z y x"]:
        """The image in these poses."""
        steps, damping = self.search.final, self.search.damping
        axis, outline = self.phase_axis, scan.outline
        return reconstruct(scan.kspace, poses, scan.spacing_mm, axis, outline, steps, damping)

    def _acquired(
        self,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        clean: Float32[np.ndarray, "z y x"],
        poses: Poses,
        spacing_mm: Float32[np.ndarray, " 3"],
    ) -> Complex64[np.ndarray, "z y x"]:
        """k-space of the moving head through this coil with its noise; 0 where not acquired."""
        motion_key, noise_key = keys
        kspace = _kspace_of_moving(clean, poses, spacing_mm, self.phase_axis)
        if self.bias:
            # The coil stands still while the head moves.
            coil = bias_field(jax.random.fold_in(motion_key, 1), clean.shape, self.bias)
            kspace = jnp.fft.fftn(jnp.fft.ifftn(kspace) * coil.astype(jnp.complex64))
        real, imaginary = self.noise * jax.random.normal(noise_key, (2, *clean.shape))
        kspace = kspace + jnp.fft.fftn(jax.lax.complex(real, imaginary))
        if self.acceleration > 1:
            lines = clean.shape[self.phase_axis]
            mask = np.fft.ifftshift(line_mask(lines, self.acceleration, lines // 8))
            kspace = jnp.where(along(mask, self.phase_axis, clean.ndim), kspace, 0)
        return np.asarray(kspace)
