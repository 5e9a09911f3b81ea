"""Missing samples: lines, blocks and slices, filled; what is known stays exactly as it was.

Inside medjax a missing sample holds `physics.missing.MISSING`. In a file, the user marks it with
a value at or below `Inpainting.marker` (readers refuse NaN), and the restored file holds the
filled samples there and the file's own everywhere else.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.data.augment import Augment, augment_and_crop
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.region import ssim_where
from medjax.physics.missing import MISSING, MOST, Gaps, fill_linearly, is_missing, missing_mask
from medjax.tasks.base import Case, Record
from medjax.tasks.margins import equal_margin, margin_within
from medjax.tasks.records import known_spacing
from medjax.tasks.windowed import Windowed

Image = Float32[np.ndarray, "*space"]


@dataclasses.dataclass(frozen=True)
class Inpainting(Windowed):
    """Fill the lines and blocks that CT slices miss.

    The network gets a first guess by interpolation (`fill_linearly`) and the mask; with
    `models.masked.MaskedConfig` it changes nothing else.

    Attributes:
      gaps: what held-out scans miss.
      train_amount: range of factors on these shares in training, uniform.
      window: values shown as black and white; PSNR, SSIM and MAE are taken inside it.
      marker: in a user's file, values at or below this are missing.
      augment: variations of the training patches.
    """

    gaps: Gaps = Gaps()
    train_amount: tuple[float, float] = (0.25, 1.5)
    window: tuple[float, float] = (-160.0, 240.0)
    marker: float = -1500.0
    augment: Augment = Augment()

    dims: ClassVar[int] = 2
    unit: ClassVar[str] = "HU"
    background: ClassVar[float] = -1000.0
    # Between a marked sample and its neighbour lies no value.
    interpolable: ClassVar[bool] = False
    degraded_name: ClassVar[str] = "with gaps"
    reference_name: ClassVar[str] = "complete (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR in gaps", "dB", "high", 2),
        Column("ssim", "SSIM in gaps", "", "high", 4),
        Column("mae", "MAE in gaps", "HU", "low", 2),
    )
    filters: ClassVar[tuple[str, ...]] = ("nearest fill", "linear fill", "biharmonic fill")

    def __post_init__(self) -> None:
        low, high = self.train_amount
        if not 0 <= low <= high <= MOST:
            raise UserError(f"task.train_amount {low} {high}: must rise from 0 to {MOST:g} at most")
        super().__post_init__()
        if self.gaps.slices and self.dims < 3:
            raise UserError("task.gaps.slices: slices can be missing in volumes only")

    @property
    def title(self) -> str:
        g = self.gaps
        shares = {"lines": g.lines, "blocks": g.blocks, "slices": g.slices}
        what = ", ".join(f"{share:.0%} {name}" for name, share in shares.items() if share)
        return f"Missing data: {what or 'nothing'}, held-out scans"

    @property
    def note(self) -> str:
        low, high = self.window
        return (
            f"All columns over missing samples alone, inside [{low:g}, {high:g}] {self.unit} (data "
            f"range {high - low:g}); SSIM averaged over the windows centred on them. Known samples "
            "are taken from the input in every row."
        )

    def check(self, record: Record) -> None:
        if record["unit"] != self.unit or record["image"].ndim != self.dims:
            kind = f"values in {self.unit}" if self.unit else "values in arbitrary units"
            raise UserError(
                f"case {record['case']}: this task takes scans of {self.dims} axes with {kind} "
                "(medjax data prepare ... --dims, --modality)"
            )

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        return (equal_margin(self.augment, patch),) * len(patch)

    def normalise(self, scan: Image) -> tuple[Image, Callable[[Image], Image]]:
        missing = scan <= self.marker
        level = self.level(scan)
        values = np.where(missing, np.float32(MISSING), scan / level)
        return values, lambda restored: np.where(missing, restored * level, scan)

    def level(self, scan: Image) -> np.float32:
        """What a scan's values are divided by; missing samples do not count."""
        return np.float32(1)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        return {"level": np.array([self.level(record["image"])], np.float32)}

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, choose, lose = jax.random.split(key, 3)
        image = raw["image"] / raw["level"].reshape(-1, *[1] * (self.dims + 1))
        cut = margin_within(self, image.shape[1:-1])
        clean = augment_and_crop(vary, image, (cut,) * self.dims, self.augment)
        low, high = self.train_amount
        amount = jax.random.uniform(choose, (len(clean),), minval=low, maxval=high)
        missing = missing_mask(lose, len(clean), clean.shape[1:-1], self.gaps, amount)
        degraded = jnp.where(missing, MISSING, clean)
        return Pair(self.encode(degraded), self._scale(clean))

    def simulate(self, record: Record, seed: int) -> Case:
        reference = record["image"] / self.level(record["image"])
        missing = np.asarray(missing_mask(jax.random.key(seed), 1, reference.shape, self.gaps))
        degraded = np.where(missing[0, ..., 0], np.float32(MISSING), reference)
        return Case(record["case"], degraded, reference, 0.0, known_spacing(record))

    def encode(self, degraded: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 2"]:
        missing = is_missing(degraded)
        guess = fill_linearly(self._scale(degraded), missing)
        return jnp.concatenate([guess, missing.astype(jnp.float32)], axis=-1)

    def judge(self, case: Case, restored: Image) -> dict[str, float]:
        missing = is_missing(case.degraded)
        if not missing.any():
            raise UserError("nothing is missing in the held-out scan: raise task.gaps")
        low, high = self.window
        a, b = (
            np.clip(x, low, high)
            for x in (np.where(missing, restored, case.degraded), case.reference)
        )
        error = (a - b)[missing].astype(np.float64)
        mse = max(float(np.mean(np.square(error))), 1e-12 * (high - low) ** 2)
        return {
            "psnr": float(10 * np.log10((high - low) ** 2 / mse)),
            "ssim": ssim_where(a, b, missing, high - low),
            "mae": float(np.mean(np.abs(error))),
        }


@dataclasses.dataclass(frozen=True)
class VolumeInpainting(Inpainting):
    """Fill the slices and blocks that MR volumes miss; values are fractions of bright tissue's.

    Attributes:
      marker: MR intensities are 0 or more, so a user marks missing samples with -1.
      slicewise: the network sees axial slices one by one instead of volumes; the first guess in
        them is that of the volume all the same.
    """

    gaps: Gaps = Gaps(lines=0.0, blocks=0.05, block_side=(6, 16), slices=0.2)
    window: tuple[float, float] = (0.0, 1.0)
    marker: float = -1.0
    augment: Augment = Augment(warp_probability=0.0)
    slicewise: bool = False

    dims: ClassVar[int] = 3
    unit: ClassVar[str] = ""
    background: ClassVar[float] = 0.0
    columns: ClassVar[tuple[Column, ...]] = (
        *Inpainting.columns[:2],
        Column("mae", "MAE in gaps", "", "low", 4),
    )

    @property
    def network_dims(self) -> int:
        return 2 if self.slicewise else 3

    def level(self, scan: Image) -> np.float32:
        known = scan[scan > self.marker]
        bright = known[known > known.mean()] if known.size else known
        return np.float32(np.percentile(bright, 99)) if bright.size else np.float32(1)
