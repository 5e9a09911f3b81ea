"""Where random restorations of one scan disagree, and whether that is where they are wrong."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from scipy import stats

Draw = Callable[[int], Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]]]
"""`draw(seed)` restores at random, each seed otherwise: `medjax.trained.Trained.draw`."""


class Draws(NamedTuple):
    """What many restorations of one scan have in common, and where they part."""

    mean: Float32[np.ndarray, "*space"]
    std: Float32[np.ndarray, "*space"]


def draws(draw: Draw, image: Float32[np.ndarray, "*space"], count: int, seed: int = 0) -> Draws:
    """Mean and standard deviation (with count - 1) over `count` restorations, in the scan's unit.

    One restoration at a time is in memory (Welford's recurrence).

    Args:
      draw: `draw(seed)(image)` is one restoration.
      image: the degraded scan.
      count: of restorations, seeds `seed` to `seed + count - 1`.
      seed: of the first one.

    Raises:
      ValueError: fewer than two restorations.
    """
    if count < 2:
        raise ValueError(f"a spread takes at least 2 restorations, not {count}")
    mean, squares = np.zeros(image.shape), np.zeros(image.shape)
    for number in range(count):
        restored = np.asarray(draw(seed + number)(image), np.float64)
        gap = restored - mean
        mean += gap / (number + 1)
        squares += gap * (restored - mean)
    std = np.sqrt(squares / (count - 1))
    return Draws(mean.astype(np.float32), std.astype(np.float32))


def disagreement(
    draw: Draw, image: Float32[np.ndarray, "*space"], count: int = 16, seed: int = 0
) -> Float32[np.ndarray, "*space"]:
    """The map of the standard deviation of `draws`: bright where the scan does not say."""
    return draws(draw, image, count, seed).std


def tells_errors(
    std: Float32[np.ndarray, "*space"],
    error: Float32[np.ndarray, "*space"],
    inside: Bool[np.ndarray, "*space"] | None = None,
) -> float:
    """Spearman's rank correlation of disagreement and absolute error, -1 to 1.

    0: the map says nothing of where the restoration is wrong. NaN where either is constant.

    Args:
      std: from `disagreement`.
      error: restored - reference.
      inside: which samples count; None: all.

    Raises:
      ValueError: the shapes differ.
    """
    if std.shape != error.shape:
        raise ValueError(f"shapes differ: std {std.shape}, error {error.shape}")
    where = ... if inside is None else inside
    a, b = (np.ravel(x[where]) for x in (std, np.abs(error)))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    # Ranks' correlation is Spearman's, ties and all.
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
