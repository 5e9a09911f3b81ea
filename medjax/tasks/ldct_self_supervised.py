"""Low-dose CT without clean targets: what a hospital can train that has noisy images alone.

Recorrupted-to-Recorrupted (Pang, Zheng, Quan, Ji, CVPR 2021): of a noisy scan y = x + n and new
noise z of the same covariance as n,

    E‖f(y + αz) − (y − z/α)‖² = E‖f(y + αz) − x‖² + constant,

because n + αz and n − z/α, both Gaussian, do not correlate. So the squared error against the second
trains f as clean targets would, up to how well z's covariance is known. FBP noise comes from known
physics, and what is not known of a scanner is measured in flat tissue (`tasks.scan_noise`).

Why not another: Noise2Void and its relatives need noise that does not correlate between pixels;
FBP noise does, along streaks. A mask as wide as that (Struct-N2V, Broaddus et al. 2020) also hides
what there is to restore. Neighbouring slices of 5 mm show other anatomy. Splitting views
(`tasks.ldct_noise2inverse`) needs the measured projections: those of an *image* are projections of
one and the same noise, and adjacent views share it at spatial frequencies under
1 / (size · angle between views), with 720 views of 512 pixels under 0.45 cycles a pixel.
"""

import dataclasses
import functools
import zlib
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray

from medjax.data.augment import augment
from medjax.data.memory import ArrayCache
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.ct import flat_tissue_mask, noise_hu, rmse_hu
from medjax.metrics.quality import psnr
from medjax.physics.ct import Rays, noise_of_power
from medjax.tasks.base import Case, Record
from medjax.tasks.ldct import BODY_ABOVE, PROBES, LowDoseCT, pixel_size_mm
from medjax.tasks.patches import cut
from medjax.tasks.scan_noise import SCANNER, at_frequencies, full_power, noise_gain

CACHE_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class SelfSupervisedCT(LowDoseCT):
    """Learn to take the noise out of scans that have no clean version; train with loss L2.

    Patches are mirrored and changed in intensity; rotation and deformation would interpolate the
    noise and are left out. `dose`, `train_dose`, `filter`, `model` and `views` say nothing here:
    the scans have the noise they have.

    A held-out scan is split into y + z and y − z, with the noise of two scans of half the dose:
    one is restored, the other, as noisy, is what it is compared with.

    Attributes:
      recorruption: alpha. More makes the input noisier, less the target: 1/2 gives the input
        1.12 times the scan's noise and the target 2.24 times.
    """

    recorruption: float = 0.5

    # Training adds noise to scans that are as noisy as those to be restored.
    denoises: ClassVar[bool] = False
    degraded_name: ClassVar[str] = "half of the scan"
    reference_name: ClassVar[str] = "other half, as noisy (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("rmse_hu", "RMSE", "HU", "low", 2),
        Column("noise_hu", "noise std", "HU", "low", 2),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.recorruption > 0:
            raise UserError(f"task.recorruption {self.recorruption}: must be positive")

    @property
    def title(self) -> str:
        return "CT without clean scans, held-out scans split into two of independent noise"

    @property
    def note(self) -> str:
        low, high = self.window
        return (
            f"PSNR in the window [{low:g}, {high:g}] HU. No clean scan exists: the reference is as "
            "noisy as the input, with independent noise of the kernel and level measured in the "
            "scan, so RMSE has a floor that no method can pass, and differences count."
        )

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        super().margin(patch)
        return (0,) * len(patch)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        def measure() -> np.ndarray:
            return noise_gain(record["image"], pixel_size_mm(record), PROBES, record["case"])

        gain = self._kept.get(("gain", *_name(record)), measure)
        return {**super().context(record, corner, patch), "noise_gain": gain}

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, shake = jax.random.split(key)
        noisy, side = raw["image"], raw["image"].shape[1]
        rays = Rays(raw["line_integrals"], raw["ray_offsets"])  # pyright: ignore

        def power(grid: tuple[int, int]) -> Array:
            known = full_power(rays, raw["spacing"][:, 0], grid)
            return known * at_frequencies(raw["noise_gain"], grid)

        noise = noise_of_power(shake, power, (side, side))
        alpha = self.recorruption
        both = jnp.concatenate([noisy + alpha * noise, noisy - noise / alpha], axis=-1)
        both = augment(vary, both, _unwarped(self))
        return Pair(self.encode(both[..., :1]), self._scale(both[..., 1:]))

    def simulate(self, record: Record, seed: int) -> Case:
        image = record["image"]
        gain = noise_gain(image, pixel_size_mm(record), PROBES, record["case"])
        noise = _whole_noise(image, record, gain, seed)
        body = image > BODY_ABOVE
        level = float(np.sqrt(2) * np.std(noise[body if body.any() else ...]))
        spacing = tuple(record["spacing"].tolist())
        return Case(record["case"], image + noise, image - noise, level, spacing)

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        low, high = self.window
        a, b = (np.clip(x, low, high)[None, ..., None] for x in (restored, case.reference))
        return {
            "psnr": float(psnr(a, b, data_range=high - low)[0]),
            "rmse_hu": float(rmse_hu(restored, case.reference)),
            "noise_hu": float(noise_hu(restored, flat_tissue_mask(case.reference))),
        }

    @functools.cached_property
    def _kept(self) -> ArrayCache:
        return ArrayCache(CACHE_BYTES)


@dataclasses.dataclass(frozen=True)
class RehearsedSelfSupervisedCT(SelfSupervisedCT):
    """`SelfSupervisedCT` on scans that a virtual scanner makes once, for a test with known truth.

    Every training slice is scanned once, at `dose` with `views`, `filter` and `model`, with the
    same noise whenever it is met; of the clean slice and of the scanner the training sees nothing.
    Held-out slices are scanned and judged as under `LowDoseCT`, against the truth.
    """

    degraded_name: ClassVar[str] = LowDoseCT.degraded_name
    reference_name: ClassVar[str] = LowDoseCT.reference_name
    columns: ClassVar[tuple[Column, ...]] = LowDoseCT.columns

    @property
    def title(self) -> str:
        return LowDoseCT.title.fget(self)  # pyright: ignore

    @property
    def note(self) -> str:
        return LowDoseCT.note.fget(self)  # pyright: ignore

    def probe(self, record: Record) -> Float32[np.ndarray, "angles crossings"]:
        return super().probe({**record, "image": self._noisy(record)})

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        noisy = self._noisy(record)
        seen = super().context({**record, "image": noisy}, corner, patch)
        return {**seen, "noisy": cut(noisy, corner, patch)[..., None]}

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        return super().prepare({**raw, "image": raw["noisy"]}, key)

    def simulate(self, record: Record, seed: int) -> Case:
        return LowDoseCT.simulate(self, record, seed)

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        return LowDoseCT.judge(self, case, restored)

    def _noisy(self, record: Record) -> Float32[np.ndarray, "y x"]:
        return self._kept.get(_name(record), lambda: scanned_once(self, record).degraded)


def scanned_once(task: LowDoseCT, record: Record) -> Case:
    """The record's only scan: always with the same noise."""
    # Readers may run in the training loop's thread, which forbids hidden transfers.
    with jax.transfer_guard("allow"):
        return LowDoseCT.simulate(task, record, scan_seed(record))


def scan_seed(record: Record) -> int:
    """Of a slice's only scan, by its name."""
    return zlib.crc32(" ".join(map(str, _name(record))).encode()) >> 1


def _name(record: Record) -> tuple[str, int]:
    return record["case"], int(record.get("index", 0))


@functools.lru_cache
def _unwarped(task: LowDoseCT):
    return dataclasses.replace(task.augment, warp_probability=0.0, elastic_alpha=0.0)


def _whole_noise(
    image: Float32[np.ndarray, "y x"],
    record: Record,
    gain: Float32[np.ndarray, " rings"],
    seed: int,
) -> Float32[np.ndarray, "y x"]:
    """New noise for the whole slice: the virtual scanner's, with the measured gain."""
    scanner = LowDoseCT(dose=1.0, filter="ramp", model=SCANNER)
    scan = LowDoseCT.simulate(scanner, {**record, "image": image}, seed)
    shape = (image.shape[0], image.shape[1])
    response = np.sqrt(np.asarray(at_frequencies(jnp.asarray(gain)[None], shape))[0])
    spectrum = np.fft.rfft2(scan.degraded - scan.reference) * response
    return np.fft.irfft2(spectrum, shape).astype(np.float32)
