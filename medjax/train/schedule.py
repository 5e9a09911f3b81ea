"""Learning rates over steps."""

import jax.numpy as jnp
import optax


def cosine(steps: int, *, peak: float = 2e-4, end: float = 2e-6, warmup: int = 0) -> optax.Schedule:
    """One half cosine from `peak` down to `end` over `steps`, after a linear warm-up from 0.

    Args:
        steps: length of the whole schedule in steps, warm-up included; `end` holds after it.
        peak: the learning rate after warm-up.
        end: the learning rate at the last step.
        warmup: steps of linear rise.

    Raises:
        ValueError: `warmup` leaves no step for the cosine, or `end` exceeds `peak`.
    """
    _check(peak, end)
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must lie in [0, steps): got {warmup} of {steps}")
    decay = optax.cosine_decay_schedule(peak, steps - warmup, alpha=end / peak)
    if warmup == 0:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def cosine_restarts(period: int, *, peak: float = 2e-4, end: float = 2e-6) -> optax.Schedule:
    """Cosines from `peak` to `end` that start again every `period` steps, for ever.

    SGDR (Loshchilov and Hutter, 2017) with a constant period.

    Raises:
        ValueError: `period` is not positive, or `end` exceeds `peak`.
    """
    _check(peak, end)
    if period <= 0:
        raise ValueError(f"period must be positive: got {period}")
    decay = optax.cosine_decay_schedule(peak, period, alpha=end / peak)
    return lambda count: decay(jnp.asarray(count) % period)


def _check(peak: float, end: float) -> None:
    if not 0 <= end <= peak or peak == 0:
        raise ValueError(f"need 0 <= end <= peak and peak > 0: got end {end}, peak {peak}")
