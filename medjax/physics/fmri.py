"""How fMRI series go wrong within volumes: moving slices, lost slices, noise; and what they show.

Series are [t, z, y, x] with values relative to the brain's mean signal. The parts:
`fmri_motion` (poses and slices), `fmri_spins` (T1 history), `bold` (the signal sought).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from medjax.errors import UserError
from medjax.physics.bold import (
    blobs,
    block_response,
    hrf,
    slow_waves,
    step_response,
)
from medjax.physics.fmri_motion import (
    HeadMotion,
    Order,
    acquire,
    framewise_displacement,
    head_motion,
    slice_times,
    through_plane,
)
from medjax.physics.fmri_spins import spin_history

__all__ = [
    "Activity",
    "HeadMotion",
    "Order",
    "Scanner",
    "acquire",
    "activity",
    "blobs",
    "block_response",
    "degrade",
    "framewise_displacement",
    "head_motion",
    "hrf",
    "rician",
    "slice_gains",
    "slice_times",
    "slow_waves",
    "spin_history",
    "step_response",
    "through_plane",
]


@dataclasses.dataclass(frozen=True)
class Scanner:
    """What corrupts a series, apart from its noise level.

    Attributes:
      motion: of the head.
      order: in which slices are excited.
      dropouts: probability of a slice to lose signal, for each slice of each volume.
      signal_left: range of what share of its signal such a slice keeps.
      spin_history: whether motion through the slices disturbs the magnetisation.
      t1_s: longitudinal relaxation time of tissue in seconds.
      flip_deg: flip angle in degrees.
    """

    motion: HeadMotion = HeadMotion()
    order: Order = "interleaved"
    dropouts: float = 0.03
    signal_left: tuple[float, float] = (0.0, 0.8)
    spin_history: bool = True
    t1_s: float = 1.3
    flip_deg: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropouts <= 1 or not 0 <= self.motion.events <= 1:
            raise UserError(
                f"task.scanner: dropouts {self.dropouts} and motion.events {self.motion.events} "
                "are probabilities, 0 to 1"
            )


@dataclasses.dataclass(frozen=True)
class Activity:
    """A BOLD-like change of signal that is put on top of a series.

    Attributes:
      percent: height of the block response in the middle of an active spot, in % of the signal.
      block_s: seconds of a block, and of a rest.
      spots: number of active spots.
      radius_mm: standard deviation of their Gaussian shape.
      waves_percent: standard deviation of slow fluctuations in as many other spots.
      waves_hz: their frequency band, that of resting networks.
    """

    percent: float = 2.0
    block_s: float = 20.0
    spots: int = 4
    radius_mm: float = 9.0
    waves_percent: float = 1.0
    waves_hz: tuple[float, float] = (0.01, 0.1)


def activity(
    key: PRNGKeyArray,
    times: Float[Array, " t"],
    centres: Float[Array, "spots 3"],
    shape: tuple[int, ...],
    spacing_mm: Float[ArrayLike, " 3"],
    model: Activity,
    onset: Float[ArrayLike, ""] = 0.0,
) -> Float[Array, "t z y x"]:
    """Relative change of the signal: multiply a series by 1 plus this.

    Args:
      key: of the slow waves.
      times: seconds of the volumes.
      centres: indices of the spots' middles; the first half responds to the blocks, the second
        half is a resting brain's.
      shape: of a volume.
      spacing_mm: between voxels along z, y, x.
      model: how strong, where and when.
      onset: seconds at which the first block begins.
    """
    maps = blobs(centres, shape, spacing_mm, model.radius_mm)
    active = len(centres) // 2
    change = jnp.zeros((len(times), *shape))
    if model.percent:
        response = model.percent / 100 * block_response(times, model.block_s, onset)
        spots = jnp.minimum(jnp.sum(maps[:active], axis=0), 1.0)
        change = response[:, None, None, None] * spots
    if model.waves_percent:
        waves = slow_waves(key, times, len(centres) - active, model.waves_hz)
        waves = model.waves_percent / 100 * waves
        change = change + jnp.einsum("ct,czyx->tzyx", waves, maps[active:])
    return change


def slice_gains(key: PRNGKeyArray, shape: tuple[int, int], scanner: Scanner) -> Float[Array, "t z"]:
    """The share of its signal that each slice keeps: 1, or less where it drops out."""
    lost_key, left_key = jax.random.split(key)
    lost = jax.random.bernoulli(lost_key, scanner.dropouts, shape)
    low, high = scanner.signal_left
    return jnp.where(lost, jax.random.uniform(left_key, shape, minval=low, maxval=high), 1.0)


def rician(
    key: PRNGKeyArray, signal: Float[Array, "*n"], sigma: Float[ArrayLike, ""]
) -> Float[Array, "*n"]:
    """The magnitude of a signal with Gaussian noise of `sigma` in both channels.

    Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", MRM 1995.
    """
    real, imaginary = sigma * jax.random.normal(key, (2, *signal.shape))
    return jnp.sqrt(jnp.square(signal + real) + jnp.square(imaginary))


def degrade(
    key: PRNGKeyArray,
    series: Float[Array, "t z y x"],
    repetition_s: Float[ArrayLike, ""],
    spacing_mm: Float[Array, " 3"],
    phase: Float[Array, " z"],
    centre: Float[Array, " 3"],
    noise: Float[ArrayLike, ""],
    scanner: Scanner,
) -> tuple[Float[Array, "t z y x"], Float[Array, "t z 6"]]:
    """A series as it comes from the scanner, and the poses that the head took.

    Args:
      key: of this series.
      series: the head at rest, 1 is the brain's mean signal.
      repetition_s: seconds between volumes.
      spacing_mm: between voxels along z, y, x.
      phase: when in a repetition each slice is excited, from `slice_times`.
      centre: index about which the head turns.
      noise: standard deviation of the thermal noise.
      scanner: what goes wrong.
    """
    move_key, drop_key, noise_key = jax.random.split(key, 3)
    frames = jnp.arange(len(series), dtype=jnp.float32)
    times = (frames[:, None] + phase) * repetition_s
    poses = head_motion(move_key, times, repetition_s, scanner.motion)
    gain = slice_gains(drop_key, (series.shape[0], series.shape[1]), scanner)
    if scanner.spin_history:
        gain = gain * spin_history(
            through_plane(poses, spacing_mm, centre),
            times,
            repetition_s,
            t1_s=scanner.t1_s,
            flip_deg=scanner.flip_deg,
        )
    moved = acquire(series, poses, spacing_mm, centre)
    return rician(noise_key, moved * gain[..., None, None], noise), poses
