"""AUC with its interval, and whether made images are copies of the training images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Interval(NamedTuple):
    """A value with the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def auc(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: how often a positive outscores a negative; a tie counts half."""
    positive = labels == 1
    count = int(positive.sum())
    ranks = stats.rankdata(scores)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(labels) - count)))


def mean_auc(scores: Float[np.ndarray, "seeds n"], labels: Int[np.ndarray, " n"]) -> float:
    """The mean over seeds of each seed's AUC on the same test images."""
    return float(np.mean([auc(s, labels) for s in scores]))


def intervals(
    rows: dict[str, Float[np.ndarray, "seeds n"]],
    labels: Int[np.ndarray, " n"],
    baseline: str,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[Interval, Interval]]:
    """Of every row the mean AUC and its difference to the baseline's, percentile intervals.

    Test images are drawn again within either class, the same for all rows, and seeds too: another
    draw of training images and weights is part of what could have been otherwise.
    """
    rng = np.random.default_rng(seed)
    count = len(next(iter(rows.values())))
    classes = [np.flatnonzero(labels == c) for c in (0, 1)]
    drawn: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(resamples):
        images = np.concatenate([rng.choice(c, len(c)) for c in classes])
        seeds = rng.integers(0, count, count)
        for name, scores in rows.items():
            drawn[name].append(mean_auc(scores[seeds][:, images], labels[images]))
    found = {}
    for name, scores in rows.items():
        value, base = mean_auc(scores, labels), mean_auc(rows[baseline], labels)
        gain = np.asarray(drawn[name]) - np.asarray(drawn[baseline])
        found[name] = (_interval(value, drawn[name]), _interval(value - base, gain))
    return found


def _interval(value: float, drawn) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


class Copies(NamedTuple):
    """How near images lie to the nearest training image; root mean square grey levels."""

    made: float
    """Median over made images."""
    held_out: float
    """Median over real images that were not trained on."""
    suspicious: float
    """Share of made images that lie closer to one training image, against the next one, than 99 %
    of held-out images do; 0.01 if the VAE copies no more than chance."""


def copies(
    made: Float[np.ndarray, "m y x 1"],
    train: Float[np.ndarray, "n y x 1"],
    held_out: Float[np.ndarray, "k y x 1"],
) -> Copies:
    """Nearest-neighbour check of a VAE's images against memorising, within one class.

    The distance alone misleads: a blurred image lies near everything. A copy lies near one image
    and far from the others, whatever its blur, so the ratio of the two nearest distances decides.
    """
    near, ratio = _two_nearest(made, train)
    near_real, ratio_real = _two_nearest(held_out, train)
    suspicious = float(np.mean(ratio < np.quantile(ratio_real, 0.01)))
    return Copies(float(np.median(near)), float(np.median(near_real)), suspicious)


def _two_nearest(images, train) -> tuple[np.ndarray, np.ndarray]:
    """RMS distance to the nearest training image, and its ratio to the second nearest."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (images, train))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    two = np.sqrt(np.maximum(np.sort(squares, axis=1)[:, :2], 0) / a.shape[1])
    return two[:, 0], two[:, 0] / np.maximum(two[:, 1], 1e-12)
