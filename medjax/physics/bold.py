"""BOLD-like signal: what a block design does to a voxel, and the slow waves of a resting brain."""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammainc, gammaln
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

PEAK_SHAPE = 6.0
UNDERSHOOT_SHAPE = 16.0
UNDERSHOOT_RATIO = 1 / 6
WAVES = 8


def hrf(seconds: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """SPM's canonical haemodynamic response: two gamma densities of scale 1 s, in 1/s.

    t^5 e^-t / 5! - t^15 e^-t / (6 * 15!), a double gamma after Glover, "Deconvolution of
    impulse response in event-related BOLD fMRI", NeuroImage 1999; peak at 5 s,
    undershoot near 16 s, area 5/6. 0 before the stimulus.
    """
    t = jnp.asarray(seconds, jnp.float32)
    late = jnp.maximum(t, 1e-6)

    def gamma(shape: float) -> Array:
        return jnp.exp((shape - 1) * jnp.log(late) - late - gammaln(jnp.float32(shape)))

    return jnp.where(t > 0, gamma(PEAK_SHAPE) - UNDERSHOOT_RATIO * gamma(UNDERSHOOT_SHAPE), 0.0)


def step_response(seconds: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """The integral of `hrf` from 0, divided by its area: 1 long after a lasting stimulus began."""
    t = jnp.maximum(jnp.asarray(seconds, jnp.float32), 0.0)
    rise = gammainc(jnp.float32(PEAK_SHAPE), t)
    fall = gammainc(jnp.float32(UNDERSHOOT_SHAPE), t)
    return (rise - UNDERSHOOT_RATIO * fall) / (1 - UNDERSHOOT_RATIO)


def block_response(
    times: Float[Array, " t"], block_s: float, onset: Float[ArrayLike, ""] = 0.0
) -> Float[Array, " t"]:
    """Response to blocks of `block_s` seconds with rests as long, convolved with the HRF exactly.

    Args:
      times: seconds, from about 0 on, no two farther apart than a rest and a block.
      block_s: length of a block, and of a rest.
      onset: when the first block begins; earlier blocks leave their tails.
    """
    # Enough blocks for any spacing of the times, and two before them for the tails.
    number = jnp.arange(len(times) + 3, dtype=jnp.float32) - 2
    starts = jnp.asarray(onset, jnp.float32) + number * (2 * block_s)
    since = times[:, None] - starts
    return (step_response(since) - step_response(since - block_s)).sum(-1)


def slow_waves(
    key: PRNGKeyArray, times: Float[Array, " t"], count: int, hertz: tuple[float, float]
) -> Float[Array, "count t"]:
    """Time courses of variance 1: sums of sinusoids with random phases in a frequency band."""
    frequency_key, phase_key = jax.random.split(key)
    frequency = jax.random.uniform(
        frequency_key, (count, WAVES, 1), minval=hertz[0], maxval=hertz[1]
    )
    phase = jax.random.uniform(phase_key, (count, WAVES, 1))
    waves = jnp.sin(2 * jnp.pi * (frequency * times + phase))
    return waves.sum(1) * jnp.sqrt(jnp.float32(2 / WAVES))


def blobs(
    centres: Float[Array, "count 3"],
    shape: tuple[int, ...],
    spacing_mm: Float[ArrayLike, " 3"],
    radius_mm: float,
) -> Float[Array, "count z y x"]:
    """Gaussian bumps of height 1 and standard deviation `radius_mm` at `centres` (indices)."""
    axes = jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32) for n in shape], indexing="ij")
    offset = jnp.stack(axes, -1) - centres[:, None, None, None]
    square = jnp.sum(jnp.square(offset * jnp.asarray(spacing_mm, jnp.float32)), -1)
    return jnp.exp(-square / (2 * radius_mm**2))
