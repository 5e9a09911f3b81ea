"""Low-dose CT: fewer photons, more noise; the reference is the same scanner without noise."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray

from medjax.data.augment import Augment, augment_and_crop, margin
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.ct import edge_width_mm, flat_tissue_mask, noise_hu, rmse_hu
from medjax.metrics.quality import psnr, ssim
from medjax.physics.ct import (
    DoseModel,
    Filter,
    ParallelBeam,
    Rays,
    local_blur,
    local_noise,
    simulate_low_dose,
    survey_slice,
    surveyed_rays,
)
from medjax.tasks.base import Case, Record
from medjax.tasks.margins import margin_within
from medjax.tasks.ranges import log_uniform
from medjax.tasks.windowed import Windowed

# Directions in which a patch's surroundings are probed; the noise's strength turns slowly.
PROBES = 48
AIR = -1000.0
# Above this a pixel belongs to the body: well over lung's air, under fat.
BODY_ABOVE = -500.0


@dataclasses.dataclass(frozen=True)
class LowDoseCT(Windowed):
    """Undo the noise of a low dose in slices reconstructed by filtered backprojection.

    Held-out slices are scanned by a virtual scanner: projected, given photon and electronic
    noise, reconstructed. Training patches get the same noise by its local spectrum
    (`physics.ct_local_noise`), fresh at every step, and the same scanner's sharpness.

    Attributes:
      dose: fraction of the full dose at which held-out slices are judged.
      train_dose: range of doses in training, uniform in the logarithm.
      views: projections over half a turn.
      filter: reconstruction filter.
      model: photons, electronic noise and bowtie at full dose.
      window: HU shown as black and white; PSNR and SSIM are taken inside it.
      augment: variations of the training patches, in pixels and HU.
    """

    dose: float = 0.25
    train_dose: tuple[float, float] = (0.05, 1.0)
    views: int = 720
    filter: Filter = "hann"
    model: DoseModel = DoseModel()
    window: tuple[float, float] = (-160.0, 240.0)
    augment: Augment = Augment(gain=(0.8, 1.1), offset=(-60.0, 60.0))

    dims: ClassVar[int] = 2
    unit: ClassVar[str] = "HU"
    background: ClassVar[float] = AIR
    denoises: ClassVar[bool] = True
    degraded_name: ClassVar[str] = "low-dose FBP"
    reference_name: ClassVar[str] = "full-dose FBP (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("ssim", "SSIM", "", "high", 4),
        Column("rmse_hu", "RMSE", "HU", "low", 2),
        Column("noise_hu", "noise std", "HU", "reference", 2),
        Column("edge_mm", "edge 10-90 %", "mm", "reference", 2),
    )
    filters: ClassVar[tuple[str, ...]] = (
        "histogram equalisation",
        "CLAHE",
        "median 3",
        "median 5",
        "bilateral",
        "TV",
        "NLM",
        "wavelet",
    )

    def __post_init__(self) -> None:
        low, high = self.train_dose
        if not (0 < low <= high and self.dose > 0):
            raise UserError(
                f"task: dose {self.dose} and train_dose {low} {high} must be positive, in order"
            )
        super().__post_init__()

    @property
    def title(self) -> str:
        return f"Low-dose CT, {self.dose:.0%} dose, held-out slices"

    @property
    def note(self) -> str:
        low, high = self.window
        return (
            f"PSNR and SSIM in the window [{low:g}, {high:g}] HU (data range {high - low:g} HU); "
            f"RMSE over all HU (histogram equalisation and CLAHE clip to the window); noise in "
            f"flat tissue; {self.views} views, {self.filter} filter. "
            "Filters know the true noise level and are tuned on the training slices; the network "
            "estimates the level from its input."
        )

    def check(self, record: Record) -> None:
        pixel_size_mm(record)

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        if patch[0] != patch[1]:
            raise UserError(f"data.patch {patch[0]} {patch[1]}: low-dose CT takes square patches")
        return (max(margin(self.augment, patch)),) * 2

    @property
    def survey(self) -> Callable[[Record], np.ndarray] | None:
        return self.probe

    def probe(self, record: Record) -> Float32[np.ndarray, "angles crossings"]:
        """Rays all over the slice, of which patches take theirs."""
        return survey_slice(record["image"], PROBES)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        shape, pixel, side = record["image"].shape, pixel_size_mm(record), patch[0]
        survey = record["survey"] if "survey" in record else self.probe(record)
        row, column = (c + (side - 1) / 2 for c in corner)
        rays = surveyed_rays(survey, shape, pixel, (row, column), width=side)
        return {"line_integrals": rays.integrals, "ray_offsets": rays.offsets_mm}

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, choose, shake = jax.random.split(key, 3)
        image, pixel = raw["image"], raw["spacing"][:, 0]
        side = image.shape[1]
        cut = margin_within(self, (side, side))
        clean = augment_and_crop(vary, image, (cut, cut), self.augment)
        clean = local_blur(clean, self.filter)
        dose = log_uniform(choose, self.train_dose, (len(image),))
        noise = local_noise(
            shake,
            Rays(raw["line_integrals"], raw["ray_offsets"]),  # pyright: ignore[reportArgumentType]
            pixel,
            dose,
            (side - 2 * cut, side - 2 * cut),
            model=self.model,
            filter=self.filter,
            views=self.views,
        )
        return Pair(self.encode(clean + noise), self._scale(clean))

    def simulate(self, record: Record, seed: int) -> Case:
        image, pixel = record["image"], pixel_size_mm(record)
        square = max(image.shape)
        pads = [((square - n) // 2, square - n - (square - n) // 2) for n in image.shape]
        wide = np.pad(image, pads, constant_values=AIR)
        scan = _scanner(self, square)(jax.random.key(seed), wide[None, ..., None], pixel)
        inner = tuple(slice(b, b + n) for (b, _), n in zip(pads, image.shape, strict=True))
        degraded, reference = (np.asarray(x)[0, ..., 0][inner] for x in (scan.low, scan.full))
        body = reference > BODY_ABOVE
        noise = float(np.std((degraded - reference)[body if body.any() else ...]))
        return Case(record["case"], degraded, reference, noise, tuple(record["spacing"].tolist()))

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        low, high = self.window
        a, b = (np.clip(x, low, high)[None, ..., None] for x in (restored, case.reference))
        assert case.spacing is not None
        return {
            "psnr": float(psnr(a, b, data_range=high - low)[0]),
            "ssim": float(ssim(a, b, data_range=high - low)[0]),
            "rmse_hu": float(rmse_hu(restored, case.reference)),
            "noise_hu": float(noise_hu(restored, flat_tissue_mask(case.reference))),
            "edge_mm": float(edge_width_mm(restored, case.reference, case.spacing).width_mm),
        }


def pixel_size_mm(record: Record) -> float:
    """The pixel size of a record fit for CT, else a UserError that says what to do."""
    if record["unit"] != LowDoseCT.unit:
        raise UserError(
            f"case {record['case']}: values are not HU; low-dose CT needs CT scans (of files "
            "that do not say: medjax data prepare ... --modality CT, or --window LOW HIGH)"
        )
    pixel = float(record["spacing"][0])
    if not np.isfinite(pixel):
        raise UserError(
            f"case {record['case']}: the size of a pixel is not known; "
            "say it with medjax data prepare ... --pixel-mm"
        )
    return pixel


@functools.lru_cache
def _scanner(task: LowDoseCT, size: int):
    geometry = ParallelBeam.for_image(size, 1.0, task.views)

    def scan(key: PRNGKeyArray, hu: Array, pixel_mm: Array):
        return simulate_low_dose(
            key, hu, geometry, task.dose, task.model, task.filter, pixel_mm=pixel_mm
        )

    return jax.jit(scan)
