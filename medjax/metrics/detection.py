"""Lesions found and missed: FROC curve, sensitivity at a fixed rate of false alarms, F1.

Independent of whatever detected: a detector gives places with scores, the truth gives places with
radii. A candidate within a lesion's radius of its centre has found it, as in the LUNA16 challenge
(Setio et al., Medical Image Analysis 2017); the free-response curve is that of Bunch et al., 1978.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Candidates(NamedTuple):
    """What a detector marked in one image.

    Attributes:
      position_mm: of each mark, in the frame of the truth.
      score: the higher, the surer.
    """

    position_mm: Float[np.ndarray, "candidate dims"]
    score: Float[np.ndarray, " candidate"]


class Lesions(NamedTuple):
    """What there was to be found in one image; both empty in a healthy one.

    Attributes:
      centre_mm: of each lesion.
      radius_mm: of each lesion.
    """

    centre_mm: Float[np.ndarray, "lesion dims"]
    radius_mm: Float[np.ndarray, " lesion"]


class Froc(NamedTuple):
    """Free-response operating characteristic, from the strictest threshold to the loosest.

    Attributes:
      threshold: least score that counts; the first is infinite, where nothing does.
      sensitivity: share of all lesions that are found.
      false_positives: marks an image that belong to no lesion.
      lesions: how many there were.
      images: how many were searched.
    """

    threshold: Float[np.ndarray, " thresholds"]
    sensitivity: Float[np.ndarray, " thresholds"]
    false_positives: Float[np.ndarray, " thresholds"]
    lesions: int
    images: int


class OperatingPoint(NamedTuple):
    """A detector at one threshold.

    Attributes:
      threshold: least score that counts.
      sensitivity: share of the lesions found; NaN without lesions.
      false_positives: marks an image that belong to no lesion.
      precision: found lesions over found lesions and false marks; NaN where nothing is marked.
      f1: 2·found / (2·found + missed + false marks); NaN where there is nothing to find or mark.
      found: one a lesion, image after image: for `mean_interval` and paired differences.
      image: index of the image each lesion lies in, the group for those.
    """

    threshold: float
    sensitivity: float
    false_positives: float
    precision: float
    f1: float
    found: Bool[np.ndarray, " lesion"]
    image: Int[np.ndarray, " lesion"]


def match(
    candidates: Candidates, lesions: Lesions, *, least_mm: float = 0.0
) -> tuple[Float[np.ndarray, " lesion"], Float[np.ndarray, " false"]]:
    """Which lesions the marks of one image found.

    A mark belongs to the nearest lesion within whose radius (at least `least_mm`) it lies. Of
    several on one lesion the highest counts, the others are neither merit nor fault.

    Returns:
      The highest score on each lesion (minus infinity: no mark) and the scores of the marks that
      belong to none.

    Raises:
      ValueError: the arrays do not fit each other, or a score is not a number.
    """
    position, score = _checked(*candidates, "candidates")
    centre, radius = _checked(*lesions, "lesions")
    best = np.full(len(centre), -np.inf)
    if not len(centre) or not len(position):
        return best, score
    if position.shape[1] != centre.shape[1]:
        raise ValueError(f"candidates {position.shape} and lesions {centre.shape} differ in axes")
    distance = np.linalg.norm(position[:, None] - centre, axis=2)
    distance[distance > np.maximum(radius, least_mm)] = np.inf
    nearest = distance.argmin(axis=1)
    hit = np.isfinite(distance.min(axis=1))
    np.maximum.at(best, nearest[hit], score[hit])
    return best, score[~hit]


def froc(images: Sequence[tuple[Candidates, Lesions]], *, least_mm: float = 0.0) -> Froc:
    """FROC curve over all images; matching and errors as `match`.

    Raises:
      ValueError: there is no image or not one lesion.
    """
    best, false, _ = _matched(images, least_mm)
    if not len(best):
        raise ValueError("no lesion in any image: there is nothing to be sensitive to")
    scores = np.unique(np.concatenate([best[np.isfinite(best)], false]))[::-1]
    threshold = np.concatenate([[np.inf], scores])
    sensitivity = _at_least(best, threshold) / len(best)
    rate = _at_least(false, threshold) / len(images)
    return Froc(threshold, sensitivity, rate, len(best), len(images))


def threshold_at(curve: Froc, false_positives: float) -> float:
    """The loosest threshold with at most so many false positives an image."""
    return float(curve.threshold[curve.false_positives <= false_positives][-1])


def sensitivity_at(curve: Froc, false_positives: float) -> float:
    """Share of the lesions found at (at most) so many false positives an image.

    The threshold may differ between methods: each gets the one that suits it. For one threshold
    for all, chosen on the full dose, see `operating_point`.
    """
    return float(curve.sensitivity[curve.false_positives <= false_positives][-1])


def operating_point(
    images: Sequence[tuple[Candidates, Lesions]], threshold: float, *, least_mm: float = 0.0
) -> OperatingPoint:
    """Sensitivity, false positives, precision and F1 at a threshold; errors as `match`.

    Raises:
      ValueError: there is no image.
    """
    best, false, image = _matched(images, least_mm)
    found = best >= threshold
    hits, alarms = int(found.sum()), int((false >= threshold).sum())
    missed = len(found) - hits
    return OperatingPoint(
        threshold,
        _ratio(hits, len(found)),
        alarms / len(images),
        _ratio(hits, hits + alarms),
        _ratio(2 * hits, 2 * hits + missed + alarms),
        found,
        image,
    )


def _matched(
    images: Sequence[tuple[Candidates, Lesions]], least_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not images:
        raise ValueError("there is no image to search")
    pairs = [match(candidates, lesions, least_mm=least_mm) for candidates, lesions in images]
    best, false = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return best, false, np.repeat(np.arange(len(pairs)), [len(b) for b, _ in pairs])


def _at_least(scores: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """How many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), threshold, side="left")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _checked(places: np.ndarray, values: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    places, values = np.asarray(places, np.float64), np.asarray(values, np.float64)
    if places.ndim != 2 or values.shape != places.shape[:1]:
        raise ValueError(f"{what}: places {places.shape} and values {values.shape} do not fit")
    if np.isnan(places).any() or np.isnan(values).any():
        raise ValueError(f"{what}: a place or value is not a number")
    return places, values
