"""MRI motion: the head moves while k-space is filled; the reference is the head at rest."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.data.memory import ArrayCache
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.mri import bright_level, ghost_level, head_mask, relative_mae
from medjax.metrics.quality import psnr, ssim
from medjax.physics.mri import (
    MotionModel,
    Poses,
    bias_field,
    corrupt,
    draw_poses,
    line_mask,
    rician,
    zero_filled,
)
from medjax.tasks.base import Case, Record, Task
from medjax.tasks.patches import cut
from medjax.tasks.ranges import check_ranges

# Corrupted volumes kept for training: 500 of 96 x 112 x 96.
CACHE_BYTES = 2 * 1024**3
_corrupt = jax.jit(corrupt, static_argnums=3)


@dataclasses.dataclass(frozen=True)
class MRIMotion(Task):
    """Undo rigid motion between the segments of a 3-D Cartesian scan, and what comes with it.

    Every volume is divided by the brightness of its tissue, so 1 is bright tissue. Motion acts
    on whole volumes, so patches are cut from whole volumes that were corrupted before, `draws`
    of each training volume, made when first asked for and kept in memory. Fresh at every step
    are noise, mirror images and brightness.

    Attributes:
      motion: of the held-out scans; their noise is `noise`.
      severity: in training, both standard deviations of the motion are multiplied by a number
        uniform in this range.
      noise: standard deviation of the Rician noise, as a fraction of bright tissue.
      acceleration: of the scan; above 1 lines of phase encoding are left out, evenly, all but an
        eighth in the centre of k-space, and taken as 0.
      bias: standard deviation of the logarithm of the coil's smooth sensitivity; 0.2 is common at
        3 T. The reference is free of it.
      phase_axis: axis of phase encoding of [z, y, x].
      draws: different motions of each training volume.
      gain: in training, brightness is multiplied by a number uniform in this range.
      slicewise: the network sees axial slices one by one instead of volumes.
      seed: of the motion in training.
    """

    motion: MotionModel = MotionModel()
    severity: tuple[float, float] = (0.5, 1.25)
    noise: float = 0.01
    acceleration: float = 1.0
    bias: float = 0.0
    phase_axis: int = 1
    draws: int = 16
    gain: tuple[float, float] = (0.8, 1.2)
    slicewise: bool = False
    seed: int = 0

    dims: ClassVar[int] = 3
    unit: ClassVar[str] = ""
    background: ClassVar[float] = 0.0
    degraded_name: ClassVar[str] = "with motion"
    reference_name: ClassVar[str] = "at rest (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("mae_percent", "MAE in head", "% of mean", "low", 2),
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("ssim", "SSIM 3-D", "", "high", 4),
        Column("ghost_percent", "outside head", "% of mean", "reference", 2),
    )
    # Non-local means takes half a minute a volume, too long to be tuned.
    filters: ClassVar[tuple[str, ...]] = ("median 3", "TV", "wavelet")

    def __post_init__(self) -> None:
        check_ranges(self, "severity", "gain")
        if self.phase_axis not in range(self.dims):
            raise UserError(f"task.phase_axis {self.phase_axis}: must be 0 (z), 1 (y) or 2 (x)")
        if min(self.noise, self.bias) < 0 or self.draws < 1:
            raise UserError("task: noise and bias must not be negative, and draws at least 1")
        if not 1 <= self.acceleration <= 8:
            raise UserError(f"task.acceleration {self.acceleration:g}: must be 1 to 8")

    @property
    def network_dims(self) -> int:
        return 2 if self.slicewise else 3

    @property
    def title(self) -> str:
        return f"MRI motion, {self.motion.segments} segments, held-out volumes"

    @property
    def display(self) -> tuple[float, float]:
        return (0.0, 1.0)

    @property
    def note(self) -> str:
        m = self.motion
        more = f", acceleration {self.acceleration:g}" if self.acceleration > 1 else ""
        more += f", a coil's sensitivity of {self.bias:g}" if self.bias else ""
        return (
            "Intensities are divided by that of bright tissue (99th percentile of what is brighter "
            "than the mean); PSNR and SSIM of the whole volume with data range 1; MAE inside the "
            f"head, as a share of its mean there. Motion ({m.pattern}) with standard deviations of "
            f"{m.translation_mm:g} mm and {m.rotation_degrees:g} degrees, seen from the pose of "
            f"k-space's centre, Rician noise of {self.noise:g}{more}. Filters know the error's "
            "standard deviation and are tuned on the training volumes."
        )

    def check(self, record: Record) -> None:
        if record["unit"] != self.unit or record["image"].ndim != self.dims:
            raise UserError(
                f"case {record['case']}: is no MRI volume; MRI motion needs volumes in arbitrary "
                "units (medjax data prepare ... --dims 3)"
            )
        if not np.isfinite(record["spacing"]).all():
            raise UserError(
                f"case {record['case']}: the size of a voxel is not known, and motion is one in "
                "mm; prepare it from files that say so"
            )

    def normalise(
        self, scan: Float32[np.ndarray, "*space"]
    ) -> tuple[
        Float32[np.ndarray, "*space"],
        Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]],
    ]:
        level = np.float32(bright_level(scan))
        return scan / level, lambda restored: restored * level

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        # The corner decides which motion a patch shows, so neighbours show different ones.
        number = zlib.crc32(f"{self.seed} {record['case']} {corner}".encode()) % self.draws
        which = (record["case"], record["index"])
        level = self._kept.get((which, "level"), lambda: np.array([bright_level(record["image"])]))
        moved = self._kept.get((which, number), lambda: self._training_draw(record, number))
        return {
            "degraded": cut(moved, corner, patch)[..., None],
            "level": level.astype(np.float32),
        }

    def context_like(self, patch: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            "degraded": jax.ShapeDtypeStruct((*patch, 1), np.float32),
            "level": jax.ShapeDtypeStruct((1,), np.float32),
        }

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        flip_key, gain_key, noise_key = jax.random.split(key, 3)
        degraded = raw["degraded"]
        ones = (1,) * (degraded.ndim - 1)
        clean = raw["image"] / raw["level"].reshape(-1, *ones)
        low, high = self.gain
        gain = jax.random.uniform(gain_key, (len(clean), *ones), minval=low, maxval=high)
        pair = gain * jnp.stack([degraded, clean])
        # A mirror image with motion is the mirror image's, moved as in a mirror.
        flips = jax.random.bernoulli(flip_key, shape=(self.dims, len(clean), *ones))
        for axis, flip in enumerate(flips):
            pair = jnp.where(flip, jnp.flip(pair, axis + 2), pair)
        return Pair(self.encode(self.noisy(noise_key, pair[0])), pair[1])

    def noisy(
        self, key: PRNGKeyArray, image: Float[Array, "batch *space 1"]
    ) -> Float[Array, "batch *space 1"]:
        """What the network is given of an image with motion: here a magnitude, with its noise."""
        return rician(key, image, self.noise)

    def simulate(self, record: Record, seed: int) -> Case:
        motion_key, noise_key = jax.random.split(jax.random.key(seed))
        reference, _ = self.normalise(record["image"])
        poses = draw_poses(motion_key, self.motion, self.dims)
        moved = self._scanned(motion_key, reference, poses, record["spacing"])
        degraded = np.array(rician(noise_key, moved, self.noise))
        head = head_mask(reference)
        noise = float(np.std((degraded - reference)[head]))
        return Case(record["case"], degraded, reference, noise, tuple(record["spacing"].tolist()))

    def encode(self, degraded: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        return degraded

    def decode(self, restored: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        # The magnitude of a signal is not negative.
        return jnp.maximum(restored, 0)

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        head = head_mask(case.reference)
        a, b = (x[None, ..., None] for x in (restored, case.reference))
        return {
            "mae_percent": 100 * relative_mae(restored, case.reference, head),
            "psnr": float(psnr(a, b, data_range=1.0)[0]),
            "ssim": float(ssim(a, b, data_range=1.0)[0]),
            "ghost_percent": 100 * ghost_level(restored, head),
        }

    @functools.cached_property
    def _kept(self) -> ArrayCache:
        return ArrayCache(CACHE_BYTES)

    def _training_draw(self, record: Record, number: int) -> Float32[np.ndarray, "z y x"]:
        """The volume as it comes out of a training scan without noise, normalised."""
        # Readers may run in the training loop's thread, which forbids hidden transfers.
        with jax.transfer_guard("allow"):
            key = jax.random.key(self.seed)
            for part in (zlib.crc32(record["case"].encode()), int(record["index"]), number):
                key = jax.random.fold_in(key, np.uint32(part))
            pose_key, severity_key = jax.random.split(key)
            low, high = self.severity
            severity = jax.random.uniform(severity_key, minval=low, maxval=high)
            poses = draw_poses(pose_key, self.motion, self.dims, severity)
            clean, _ = self.normalise(record["image"])
            return np.array(self._scanned(pose_key, clean, poses, record["spacing"]))

    def _scanned(
        self, key: PRNGKeyArray, clean: np.ndarray, poses: Poses, spacing: np.ndarray
    ) -> Float[Array, "z y x"]:
        """The magnitude image of a moving head through this coil from the acquired lines."""
        image = _corrupt(clean, poses, spacing, self.phase_axis)
        if self.bias:
            # The coil stands still while the head moves.
            image = image * bias_field(jax.random.fold_in(key, 1), image.shape, self.bias)
        if self.acceleration > 1:
            lines = image.shape[self.phase_axis]
            mask = line_mask(lines, self.acceleration, lines // 8)
            image = zero_filled(image, mask, (self.phase_axis,))
        return image
