"""Fundus photographs: undo defocus, uneven illumination and noise; the reference is the original.

The green channel, where vessels stand out most, or the luminance of a colour image.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.data.augment import Augment, augment_and_crop, margin
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.fundus import field_of_view, vessel_contrast, vessels
from medjax.metrics.quality import psnr
from medjax.metrics.region import ssim_where
from medjax.physics.fundus import REACH, Faults, degrade
from medjax.physics.noise_level import noise_level
from medjax.tasks.base import Case, Record, Task
from medjax.tasks.margins import margin_within
from medjax.tasks.ranges import check_ranges

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Fundus(Task):
    """Restore a degraded fundus photograph.

    Attributes:
      blur: defocus at which held-out photographs are judged: standard deviation in pixels.
      shade: their unevenness of light: standard deviation of its logarithm.
      noise: their noise at white, as a fraction of white.
      train_blur: range of the defocus in training, uniform.
      train_shade: range of the unevenness in training, uniform.
      train_noise: range of the noise in training, uniform.
      scale: shortest wave of the illumination in pixels.
      white: the value of a saturated pixel.
      augment: variations of the training patches, in pixels and grey levels. By default flips
        and brightness alone: what interpolates would train on blurred references.
    """

    blur: float = 1.5
    shade: float = 0.05
    noise: float = 0.04
    train_blur: Range = (0.0, 2.5)
    train_shade: Range = (0.0, 0.1)
    train_noise: Range = (0.01, 0.06)
    scale: float = 150.0
    white: float = 255.0
    augment: Augment = Augment(
        rotation_degrees=0.0, elastic_alpha=0.0, warp_probability=0.0, gain=(0.8, 1.2)
    )

    dims: ClassVar[int] = 2
    unit: ClassVar[str] = ""
    # Green, where vessels stand out most.
    colour_channel: ClassVar[int | None] = 1
    background: ClassVar[float] = 0.0
    degraded_name: ClassVar[str] = "degraded photograph"
    reference_name: ClassVar[str] = "original photograph (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("ssim", "SSIM", "", "high", 4),
        Column("vessel_contrast", "vessel contrast", "", "reference", 4),
    )
    filters: ClassVar[tuple[str, ...]] = (
        "CLAHE",
        "median 3",
        "bilateral",
        "TV",
        "NLM",
        "wavelet",
        "Wiener",
    )

    def __post_init__(self) -> None:
        check_ranges(self, "train_blur", "train_shade", "train_noise")
        if min(self.blur, self.shade, self.noise) < 0 or min(self.scale, self.white) <= 0:
            raise UserError("task: blur, shade, noise must be 0 or more, scale and white positive")

    @property
    def title(self) -> str:
        return "Fundus photographs, held-out eyes"

    @property
    def display(self) -> tuple[float, float]:
        return (0.0, self.white)

    @property
    def note(self) -> str:
        return (
            f"PSNR and SSIM inside the field of view, data range {self.white:g}; vessel contrast: "
            f"1 - vessel / surroundings. Simulated: defocus {self.blur:g} px, illumination uneven "
            f"by {self.shade:.0%}, noise {self.noise:.1%} of white. The reference is itself a "
            "photograph with a noise and a blur of its own. Filters know the true noise level and "
            "are tuned on training photographs."
        )

    def check(self, record: Record) -> None:
        if record["unit"] != self.unit:
            raise UserError(f"case {record['case']}: is in {record['unit']}, not a photograph")
        brightest = float(np.max(record["image"]))
        if brightest > self.white:
            raise UserError(
                f"case {record['case']}: has values up to {brightest:g}, over white; give "
                "--task.white the value of a saturated pixel"
            )

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        if patch[0] != patch[1]:
            raise UserError(f"data.patch {patch[0]} {patch[1]}: fundus takes square patches")
        blurred = patch[0] + 2 * self._reach
        return (self._reach + max(margin(self.augment, (blurred, blurred))),) * 2

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, choose, shoot = jax.random.split(key, 3)
        image = raw["image"]
        varied = margin_within(self, image.shape[1:-1]) - self._reach
        clean = augment_and_crop(vary, image, (varied, varied), self.augment) / self.white
        clean = jnp.clip(clean, 0.0, 1.0)
        ranges = (self.train_blur, self.train_shade, self.train_noise)
        keys = jax.random.split(choose, len(ranges))
        faults = Faults(
            *(
                jax.random.uniform(k, (len(image),), minval=low, maxval=high)
                for k, (low, high) in zip(keys, ranges, strict=True)
            )
        )
        wide = degrade(shoot, clean, faults, scale=self.scale, max_blur=self.train_blur[1])
        reach = self._reach
        inner = slice(reach, image.shape[1] - 2 * varied - reach)
        degraded, clean = (x[:, inner, inner] * self.white for x in (wide.image, clean))
        return Pair(self.encode(degraded), clean / self.white)

    def simulate(self, record: Record, seed: int) -> Case:
        image = record["image"]
        faults = Faults(*(jnp.full((1,), x) for x in (self.blur, self.shade, self.noise)))
        shot = _camera(self)(jax.random.key(seed), image[None, ..., None], faults)
        degraded, noiseless = (np.asarray(x)[0, ..., 0] for x in shot)
        noise = float(np.std((degraded - noiseless)[field_of_view(image)]))
        return Case(record["case"], degraded, image, noise, None)

    def encode(self, degraded: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 2"]:
        scaled = degraded / self.white
        return jnp.concatenate([scaled, noise_level(scaled)], axis=-1)

    def decode(self, restored: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        return restored * self.white

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        inside = field_of_view(case.reference)
        seen = np.clip(restored, 0.0, self.white)
        pixels = (x[inside][None, :, None] for x in (seen, case.reference))
        return {
            "psnr": float(psnr(*pixels, data_range=self.white)[0]),
            "ssim": ssim_where(seen, case.reference, inside, self.white),
            "vessel_contrast": vessel_contrast(seen, vessels(case.reference, inside), inside),
        }

    @property
    def _reach(self) -> int:
        """Pixels around a patch that defocus mixes into it."""
        return int(np.ceil(REACH * self.train_blur[1]))


@functools.lru_cache
def _camera(task: Fundus):
    # The faults are arguments: as constants, XLA would compute their blur while it compiles.
    def shoot(key: PRNGKeyArray, image: Array, faults: Faults):
        shot = degrade(key, image / task.white, faults, scale=task.scale, max_blur=task.blur)
        return shot.image * task.white, shot.noiseless * task.white

    return jax.jit(shoot)
