"""fMRI series [t, z, y, x]: motion within volumes, lost slices, noise; the reference is still."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics import fmri as metrics
from medjax.metrics.column import Column
from medjax.metrics.quality import psnr, ssim
from medjax.physics.fmri import (
    Activity,
    HeadMotion,
    Scanner,
    activity,
    block_response,
    degrade,
    slice_times,
)
from medjax.tasks.base import Case, Record
from medjax.tasks.ranges import log_uniform
from medjax.tasks.reflected import first_of, mirrored
from medjax.tasks.windowed import Windowed

# Voxels around a patch that may move into it, along z, y and x: 2 mm of shift and 1.4 degrees
# far from the centre.
MARGIN = 2
# SSIM's window; smaller slices have no SSIM.
SSIM_SIDE = 11
# The activity of held-out series is the same for every seed of the degradation.
ACTIVITY_SEED = 7


@dataclasses.dataclass(frozen=True)
class FMRISeries(Windowed):
    """Undo motion within volumes, slice dropouts and noise in series of volumes.

    Motion between volumes is realignment's business. Values are divided by the brain's mean
    signal. A known activation is put on top of every series, training and held-out, real and
    still, before it is degraded, so that its recovery can be judged.

    Attributes:
      scanner: what goes wrong with held-out series.
      train_scanner: what goes wrong in training; trouble is met more often, to be learnt sooner.
      noise: standard deviation of held-out series' thermal noise, 1 is the brain's mean signal.
      train_noise: range of it in training, uniform in the logarithm.
      activity: what is put on top.
      volumewise: the network sees one volume at a time instead of the series.
      window: values shown as black and white; PSNR and SSIM are taken inside it.
      gain: range of factors on the intensities of training patches.
    """

    scanner: Scanner = Scanner()
    train_scanner: Scanner = Scanner(motion=HeadMotion(events=0.3), dropouts=0.1)
    noise: float = 0.03
    train_noise: tuple[float, float] = (0.01, 0.06)
    activity: Activity = Activity()
    volumewise: bool = False
    window: tuple[float, float] = (0.0, 1.6)
    gain: tuple[float, float] = (0.9, 1.1)

    dims: ClassVar[int] = 4
    unit: ClassVar[str] = ""
    background: ClassVar[float] = 0.0
    degraded_name: ClassVar[str] = "corrupted series"
    reference_name: ClassVar[str] = "still series (reference)"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high", 2),
        Column("ssim", "SSIM", "", "high", 4),
        Column("rmse_percent", "RMSE in the brain", "%", "low", 2),
        Column("time_r", "time course r", "", "high", 3),
        Column("activation_r", "activation map r", "", "high", 3),
        Column("dvars", "DVARS", "%", "reference", 2),
        Column("tsnr", "tSNR", "", "reference", 0),
    )
    filters: ClassVar[tuple[str, ...]] = (
        "temporal median 3",
        "temporal median 5",
        "temporal Gaussian",
        "despike",
        "slice repair",
        "temporal PCA",
        "slice repair + PCA",
    )

    def __post_init__(self) -> None:
        low, high = self.train_noise
        if not (0 < low <= high and self.noise >= 0):
            raise UserError(f"task: train_noise {low} {high} must be positive, in order")
        super().__post_init__()

    @property
    def network_dims(self) -> int:
        return 3 if self.volumewise else 4

    @property
    def title(self) -> str:
        return "fMRI series with motion within volumes, lost slices and noise, held-out series"

    @property
    def note(self) -> str:
        low, high = self.window
        return (
            f"All that is wrong is simulated: noise of {self.noise:.1%} of the brain's signal, "
            f"{self.scanner.dropouts:.0%} of slices losing signal, movements within volumes. So is "
            f"a {self.activity.percent:g} % block response ({self.activity.block_s:g} s on, as "
            "long off) with slow waves on top of the scanned series. The reference keeps the "
            "scanner's own noise. PSNR and SSIM (each slice, averaged) cover background too, in "
            f"[{low:g}, {high:g}] of the brain's mean signal, data range {high - low:g}; all other "
            "columns are of the brain. Activation map: least-squares height of the block response "
            "in each voxel, against the reference's map. tSNR and DVARS are best where they equal "
            "the reference's. Filters know the noise level and are tuned on training series."
        )

    def check(self, record: Record) -> None:
        if record["image"].ndim != 4:
            raise UserError(
                f"case {record['case']}: is no series of volumes; this task takes scans of 4 axes: "
                "medjax data prepare ... --dims 4"
            )
        _seconds_and_mm(record)

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        return (0, MARGIN, MARGIN, MARGIN)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        image = record["image"]
        places = [
            mirrored(np.arange(c, c + p), n)
            for c, p, n in zip(corner, patch, image.shape, strict=True)
        ]
        phase = slice_times(image.shape[1], self.train_scanner.order)[places[1]]
        centre = (np.array(image.shape[1:]) - 1) / 2 - np.array(corner[1:])
        inner = [p[m : len(p) - m] for p, m in zip(places, self.margin(patch), strict=True)]
        firsts = {f"first_{axis}": first_of(p) for axis, p in zip("tzyx", inner, strict=True)}
        return {
            "signal": np.asarray(_signal(image), np.float32),
            "phase": phase.astype(np.float32),
            "centre": centre.astype(np.float32),
            **firsts,
        }

    def normalise(
        self, scan: Float32[np.ndarray, "t z y x"]
    ) -> tuple[Float32[np.ndarray, "t z y x"], Callable[[np.ndarray], np.ndarray]]:
        signal = np.float32(_signal(scan))
        return scan / signal, lambda restored: restored * signal

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        keys = jax.random.split(key, len(raw["image"]))
        degraded, clean = jax.vmap(self._pair)(raw, keys)
        return Pair(self.encode(degraded), self._scale(clean))

    def _pair(self, raw: dict[str, Array], key: PRNGKeyArray) -> tuple[Array, Array]:
        """One patch: `[t, z, y, x, 1]` corrupted and clean, margins cut off."""
        gain_key, act_key, level_key, bad_key, flip_key = jax.random.split(key, 5)
        seconds, mm = raw["spacing"][0], raw["spacing"][1:]
        gain = jax.random.uniform(gain_key, minval=self.gain[0], maxval=self.gain[1])
        series = raw["image"][..., 0] * (gain / raw["signal"])
        series = self._with_activity(series, act_key, seconds, mm)
        noise = log_uniform(level_key, self.train_noise)
        bad, _ = degrade(
            bad_key, series, seconds, mm, raw["phase"], raw["centre"], noise, self.train_scanner
        )
        inner = (slice(None), *(slice(MARGIN, -MARGIN),) * 3)
        bad, series = bad[inner], series[inner]
        # Where a small scan was continued by reflection the copy shows no more than its original.
        for axis, name in enumerate("tzyx"):
            bad, series = (jnp.take(a, raw[f"first_{name}"], axis) for a in (bad, series))
        flips = jax.random.bernoulli(flip_key, shape=(3,))
        for axis in (1, 2, 3):
            bad, series = (jnp.where(flips[axis - 1], jnp.flip(a, axis), a) for a in (bad, series))
        return bad[..., None], series[..., None]

    def _with_activity(
        self, series: Array, key: PRNGKeyArray, seconds: Array, mm: Array
    ) -> Float[Array, "t z y x"]:
        """The patch with spots anywhere in it and blocks that begin at any time."""
        place_key, onset_key, wave_key = jax.random.split(key, 3)
        shape = series.shape[1:]
        centres = jax.random.uniform(place_key, (2 * self.activity.spots, 3))
        centres = centres * jnp.asarray(shape, jnp.float32)
        onset = jax.random.uniform(onset_key) * (2 * self.activity.block_s)
        times = jnp.arange(len(series), dtype=jnp.float32) * seconds
        change = activity(wave_key, times, centres, shape, mm, self.activity, onset)
        return series * (1 + change)

    def simulate(self, record: Record, seed: int) -> Case:
        self.check(record)
        seconds, mm = _seconds_and_mm(record)
        series = record["image"] / np.float32(_signal(record["image"]))
        brain = metrics.brain_mask(series)
        # Spots in the brain, at the same places for every seed.
        rng = np.random.default_rng(ACTIVITY_SEED)
        inside = np.argwhere(brain) if brain.any() else np.zeros((1, 3), int)
        centres = inside[rng.integers(len(inside), size=2 * self.activity.spots)]
        phase = slice_times(series.shape[1], self.scanner.order)
        reference, degraded = jax.device_get(
            _whole(self)(
                series, np.float32(seconds), mm, phase, centres.astype(np.float32), np.uint32(seed)
            )
        )
        spacing = (seconds, *map(float, mm))
        return Case(record["case"], degraded, reference, self.noise, spacing)

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        low, high = self.window
        a, b = (np.clip(x, low, high) for x in (restored, case.reference))
        brain = metrics.brain_mask(case.reference)
        assert case.spacing is not None
        times = np.arange(len(restored), dtype=np.float32) * case.spacing[0]
        response = np.asarray(block_response(jnp.asarray(times), self.activity.block_s))
        small = min(restored.shape[-2:]) < SSIM_SIDE
        slices = [x.reshape(-1, *x.shape[-2:], 1) for x in (a, b)]
        return {
            "psnr": float(psnr(a[None, ..., None], b[None, ..., None], data_range=high - low)[0]),
            "ssim": float("nan") if small else float(ssim(*slices, data_range=high - low).mean()),
            "rmse_percent": metrics.rmse_percent(restored, case.reference, brain),
            "time_r": metrics.time_correlation(restored, case.reference, brain),
            "activation_r": metrics.effect_correlation(restored, case.reference, brain, response),
            "dvars": metrics.dvars(restored, brain),
            "tsnr": metrics.tsnr(restored, brain),
        }


@functools.lru_cache(maxsize=8)
def _whole(task: FMRISeries):
    """Compiled: reference and corrupted series of a whole scan."""

    @jax.jit
    def make(
        series: Array, seconds: Array, mm: Array, phase: Array, centres: Array, seed: Array
    ) -> tuple[Array, Array]:
        shape = series.shape[1:]
        times = jnp.arange(len(series), dtype=jnp.float32) * seconds
        change = activity(jax.random.key(ACTIVITY_SEED), times, centres, shape, mm, task.activity)
        reference = series * (1 + change)
        middle = (jnp.asarray(shape, jnp.float32) - 1) / 2
        degraded, _ = degrade(
            jax.random.key(seed), reference, seconds, mm, phase, middle, task.noise, task.scanner
        )
        return reference, degraded

    return make


def _signal(series: Float32[np.ndarray, "t z y x"]) -> float:
    """The brain's mean signal, from a few volumes: it is asked for with every patch."""
    step = max(1, len(series) // 4)
    return metrics.brain_signal(series[::step])


def _seconds_and_mm(record: Record) -> tuple[float, Float32[np.ndarray, " 3"]]:
    """The repetition time and the voxel's sides, else a UserError that says what to do."""
    spacing = np.asarray(record["spacing"], np.float32)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise UserError(
            f"case {record['case']}: its repetition time or voxel size is not known; write them "
            "into the header of the NIfTI file and prepare the dataset again"
        )
    return float(spacing[0]), spacing[1:]
