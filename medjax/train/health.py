"""Stopping a run whose numbers are no longer numbers."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from medjax.errors import UserError


class Diverged(UserError):  # noqa: N818
    """A value is not finite; names the step, the value and the last good checkpoint."""


def nonfinite_metric(metrics: Mapping[str, float]) -> str | None:
    """Names the first metric that is NaN or infinite, with its value, or answers None."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None


def nonfinite_leaf(leaves: Mapping[str, np.ndarray]) -> str | None:
    """Names the first array of a state that holds NaN or infinity, or answers None.

    A scalar may be infinite: optimisers keep "the best loss so far" and start it there.
    """
    for path, leaf in leaves.items():
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        bad = np.isnan(leaf) if leaf.ndim == 0 else ~np.isfinite(leaf)
        if bad.any():
            return f"state{path} holds {int(bad.sum())} values that are not finite"
    return None
