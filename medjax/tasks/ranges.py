"""Ranges among a task's settings: their check, and numbers drawn from them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from medjax.errors import UserError
from medjax.tasks.base import Task


def check_ranges(task: Task, *names: str, positive: bool = False) -> None:
    """Raises UserError where one of these fields does not rise from 0, or above 0, on."""
    for name in names:
        low, high = getattr(task, name)
        if not 0 <= low <= high or (positive and low == 0):
            least = "positive" if positive else "0 or more"
            raise UserError(f"task.{name} {low} {high}: must be {least}, in order")


def log_uniform(
    key: PRNGKeyArray, limits: tuple[float, float], shape: tuple[int, ...] = ()
) -> Float[Array, "..."]:
    """Numbers whose logarithm is uniform between those of the two limits."""
    low, high = np.log(limits)
    return jnp.exp(jax.random.uniform(key, shape, minval=low, maxval=high))
