"""Patches that leave a scan, which the pipeline continues by reflection: what they show twice."""

import numpy as np
from jaxtyping import Int32


def mirrored(index: Int32[np.ndarray, " n"], length: int) -> Int32[np.ndarray, " n"]:
    """The index inside a scan that one outside shows, as numpy.pad(mode="reflect") continues it."""
    period = max(2 * (length - 1), 1)
    folded = np.abs(index) % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(index)


def first_of(places: Int32[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
    """For each sample, where in the patch the same place shows first."""
    return np.argmax(places[:, None] == places, axis=1).astype(np.int32)
