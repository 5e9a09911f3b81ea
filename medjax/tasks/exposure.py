"""Radiographs with too many or too few photons: levels put right, noise and cut-off greys undone.

How much a radiograph was over- or under-exposed shows in the whole of it, never in a tile: noise
follows grey in the same way at every exposure. So `normalise` measures the exposure by the ends
of the whole image's histogram and puts the levels right (as a reader of storage phosphors does
with its exposure index); the network gets levels that are right, and undoes the rest: noise, and
what went black or white.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray
from skimage.measure import shannon_entropy

from medjax.data.augment import Augment, augment_and_crop
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column
from medjax.metrics.quality import mae, psnr, ssim
from medjax.physics.noise_level import noise_level
from medjax.physics.xray import (
    ENDS,
    Detector,
    correct_exposure,
    develop,
    estimate_exposure,
    expected_counts,
    expose,
)
from medjax.tasks.base import Case, Record, Task
from medjax.tasks.margins import equal_margin, margin_within
from medjax.tasks.ranges import check_ranges, log_uniform
from medjax.tasks.records import known_spacing

# The network sees greys from -2 to 2: noise of a few hundredths is little beside one.
STRETCH = 4.0
# Files that hold whole numbers use one of these widths.
BITS = range(8, 17)

Image = Float32[np.ndarray, "y x"]


@dataclasses.dataclass(frozen=True)
class XrayExposure(Task):
    """Undo over- and under-exposure of a radiograph.

    Values are greys, 0 black to 1 white, and a well-exposed radiograph fills them: its 0.5th and
    99.5th percentiles become 0 and 1.

    Attributes:
      exposures: factors on the right exposure at which held-out radiographs are judged, dealt to
        them in turn.
      train_exposure: range of factors in training, uniform in the logarithm.
      detector: noise, saturation and grey scale.
      gamma: range of the exponents that training greys are raised to, uniform in the logarithm:
        other patients and parts of the body have other histograms.
      augment: variations of the training patches, in pixels.
    """

    exposures: tuple[float, ...] = (0.25, 4.0)
    train_exposure: tuple[float, float] = (0.15, 8.0)
    detector: Detector = Detector()
    gamma: tuple[float, float] = (0.4, 4.0)
    augment: Augment = Augment()

    dims: ClassVar[int] = 2
    unit: ClassVar[str] = ""
    background: ClassVar[float] = 0.0
    degraded_name: ClassVar[str] = "levels corrected"
    reference_name: ClassVar[str] = "well exposed (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("ssim", "SSIM", "", "high", 4),
        Column("mae_percent", "MAE", "% of range", "low", 2),
        Column("entropy", "entropy", "bit", "reference", 2),
    )
    filters: ClassVar[tuple[str, ...]] = (
        "histogram equalisation",
        "CLAHE",
        "auto gamma",
        "median 3",
        "TV",
        "NLM",
        "wavelet",
    )

    def __post_init__(self) -> None:
        check_ranges(self, "train_exposure", "gamma", positive=True)
        if not self.exposures or min(self.exposures) <= 0:
            raise UserError("task.exposures: give one factor or more, each above 0")

    @property
    def title(self) -> str:
        factors = ", ".join(f"{e:g}x" for e in self.exposures)
        return f"Radiographs at {factors} of the right exposure, held out"

    @property
    def display(self) -> tuple[float, float]:
        return (0.0, 1.0)

    @property
    def note(self) -> str:
        d = self.detector
        return (
            "PSNR, SSIM and MAE of greys from 0 to 1 (data range 1, cut at both ends); entropy of "
            f"256 grey levels. Detector: {d.photons:g} photons a pixel at middle grey, latitude "
            f"{d.latitude:g} decades, {d.response} response, {d.bits} bits. All rows start from "
            "the exposure measured on the whole image and corrected level by level; filters "
            "know the true noise level and are tuned on the training radiographs."
        )

    def check(self, record: Record) -> None:
        if record["unit"] != self.unit or record["image"].ndim != self.dims:
            raise UserError(
                f"case {record['case']}: is no radiograph; exposure needs 2-D images in arbitrary "
                "units (medjax data prepare ... --dims 2)"
            )

    def normalise(self, scan: Image) -> tuple[Image, Callable[[Image], Image]]:
        black, white = grey_scale(scan)
        grey = (scan - black) / (white - black)
        right, _ = self._correct(grey)
        return right, lambda restored: np.clip(restored, 0, 1) * (white - black) + black

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        return (equal_margin(self.augment, patch),) * len(patch)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        return {"ends": ends(record["image"])}

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, bend, choose, shake = jax.random.split(key, 4)
        image = raw["image"]
        each = (len(image), 1, 1, 1)
        cut = margin_within(self, image.shape[1:-1])
        black, white = (end.reshape(each) for end in jnp.split(raw["ends"], 2, axis=-1))
        clean = (image - black) / (white - black)
        clean = augment_and_crop(vary, clean, (cut, cut), self.augment)
        gamma = log_uniform(bend, self.gamma, each)
        clean = jnp.clip(clean, 0.0, 1.0) ** gamma
        exposure = log_uniform(choose, self.train_exposure, each[:1])
        degraded = expose(shake, clean, exposure, self.detector, sampler="gaussian")
        # Not the measured exposure: its error moves all greys alike, which a patch cannot tell, and
        # under L1 an offset larger than the noise hides the noise.
        return Pair(
            self.encode(correct_exposure(degraded, exposure, self.detector)), _stretched(clean)
        )

    def simulate(self, record: Record, seed: int) -> Case:
        exposure = self.exposures[seed % len(self.exposures)]
        black, white = ends(record["image"])
        reference = np.clip((record["image"] - black) / (white - black), 0, 1)
        degraded, silent = _exposed(self.detector)(jax.random.key(seed), reference, exposure)
        right, measured = self._correct(np.asarray(degraded))
        noise = right - np.asarray(correct_exposure(silent, measured, self.detector))
        return Case(
            record["case"],
            right,
            reference,
            float(np.std(noise)),
            known_spacing(record),
        )

    def encode(self, degraded: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 2"]:
        stretched = _stretched(degraded)
        return jnp.concatenate([stretched, noise_level(stretched)], axis=-1)

    def decode(self, restored: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        return restored / STRETCH + 0.5

    def judge(self, case: Case, restored: Image) -> dict[str, float]:
        shown = np.clip(restored, 0, 1)
        a, b = (x[None, ..., None] for x in (shown, case.reference))
        return {
            "psnr": float(psnr(a, b, data_range=1.0)[0]),
            "ssim": float(ssim(a, b, data_range=1.0)[0]),
            "mae_percent": 100 * float(mae(a, b)[0]),
            "entropy": float(shannon_entropy(np.rint(shown * 255))),
        }

    def _correct(self, grey: Image) -> tuple[Image, float]:
        """Greys at the right exposure, and the factor that was measured."""
        measured = float(estimate_exposure(grey, self.detector))
        return np.array(correct_exposure(grey, measured, self.detector)), measured


def ends(image: Image) -> Float32[np.ndarray, "2"]:
    """The values that count as a whole radiograph's black and white.

    Raises:
      UserError: they are the same.
    """
    low, high = np.percentile(image, ENDS)
    if not low < high:
        raise UserError("a radiograph has one value nearly everywhere; there is nothing to restore")
    return np.array([low, high], np.float32)


def grey_scale(image: Image) -> tuple[float, float]:
    """The file's black and white: what its values could be, not what they are.

    Values in [0, 1] are greys already. Whole numbers from 0 up are taken for those of a file of 8
    to 16 bits, of the smallest width that holds them. Others: lowest and highest value.
    """
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high < 2 ** BITS[-1] and np.array_equal(image, np.rint(image)):
        return 0.0, float(next(2**b - 1 for b in BITS if high < 2**b))
    return low, high


def _stretched(grey: Array) -> Array:
    return (grey - 0.5) * STRETCH


@functools.lru_cache
def _exposed(detector: Detector):
    """A jitted function: an image at an exposure, with noise and without."""

    def run(key: PRNGKeyArray, grey: Array, exposure: Array) -> tuple[Array, Array]:
        noisy = expose(key, grey[None, ..., None], exposure, detector)[0, ..., 0]
        return noisy, develop(expected_counts(grey, exposure, detector), detector)

    return jax.jit(run)
