"""Spin history: a slice that moves excites tissue that has had another time to recover."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

OUTSIDE = 1
"""Slices of tissue below and above the volume that no pulse at rest reaches."""


def spin_history(
    through: Float[Array, "t z"],
    times: Float[Array, "t z"],
    repetition_s: Float[ArrayLike, ""],
    *,
    t1_s: float = 1.3,
    flip_deg: float = 80.0,
    planes: int = 8,
) -> Float[Array, "t z"]:
    """The signal of each slice relative to that of a head at rest, exactly 1 without motion.

    Longitudinal magnetisation M of `planes` sheets of tissue a slice is followed through all
    pulses in the order of their times: it relaxes as 1 - (1 - M) exp(-dt / T1), is read where the
    slice lies, and left at M cos(flip) there (Friston et al., "Movement-related effects in fMRI
    time-series", MRM 1996). Box-shaped slices without gaps, one T1 for the whole head (1.3 s:
    grey matter at 3 T), tilts neglected, steady state at the start. Tissue from outside the
    volume comes in fully relaxed, and so too bright, as in a scanner.

    Args:
      through: how far above its place in the head each slice lies, in slices.
      times: seconds at which each slice is excited.
      repetition_s: seconds between volumes.
      t1_s: longitudinal relaxation time in seconds.
      flip_deg: flip angle in degrees.
      planes: sheets of tissue a slice.
    """
    volumes, slices = through.shape
    repetition = jnp.asarray(repetition_s, jnp.float32)
    cosine = jnp.cos(jnp.deg2rad(jnp.float32(flip_deg)))
    sheets = (slices + 2 * OUTSIDE) * planes
    height = (jnp.arange(sheets, dtype=jnp.float32) + 0.5) / planes - 0.5 - OUTSIDE
    decay = jnp.exp(-repetition / t1_s)
    steady = (1 - decay) / (1 - decay * cosine)
    order = jnp.argsort(times.reshape(-1))
    when = times.reshape(-1)[order]
    where = (jnp.arange(slices, dtype=jnp.float32) + through).reshape(-1)[order]

    def relax(m: Array, seconds: Array) -> Array:
        return 1 - (1 - m) * jnp.exp(-seconds / t1_s)

    # Every sheet was last excited one repetition before its slice's first pulse.
    own = jnp.clip(jnp.round(height), 0, slices - 1).astype(jnp.int32)
    since = when[0] - times[0, own] + repetition
    inside = (height > -0.5) & (height < slices - 0.5)
    start = jnp.where(inside, relax(steady * cosine, since), 1.0)

    def pulse(carry: tuple[Array, Array], event: tuple[Array, Array]):
        m, last = carry
        now, place = event
        m = relax(m, now - last)
        excited = jnp.abs(height - place) < 0.5
        count = jnp.maximum(jnp.sum(excited), 1).astype(jnp.float32)
        signal = jnp.sum(jnp.where(excited, m, 0.0)) / count
        # Beyond the tissue that is followed, nothing has ever been excited.
        signal = jnp.where(excited.any(), signal, 1.0)
        return (jnp.where(excited, m * cosine, m), now), signal

    _, signals = jax.lax.scan(pulse, (start, when[0]), (when, where))
    gain = jnp.zeros(volumes * slices).at[order].set(signals / steady).reshape(volumes, slices)
    # Rounding must not change a head at rest.
    return jnp.where(jnp.abs(gain - 1) < 1e-4, 1.0, gain)
