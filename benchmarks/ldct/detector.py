"""A small fixed nodule detector: trained once on full-dose slices, then let loose on restorations.

Classical on purpose: it trains in seconds on a CPU and has no opinion on how images are restored.
Bright blobs inside the lungs (`benchmarks.ldct.blobs`) are candidates; a logistic regression on
their features and the features' products, with a ridge penalty, scores them. It works slice by
slice, so that vessels which cross the slice are its hardest false alarms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import optimize, special

from benchmarks.ldct.blobs import BlobSearch, find_blobs
from benchmarks.ldct.probes import ProbeDesign, extents
from medjax.metrics.detection import Candidates, Lesions
from medjax.physics.ct import Filter, local_blur
from medjax.physics.lesion_sites import lung_mask, random_nodules
from medjax.physics.lesions import Spacing, insert

# In standard deviations of the training candidates; what lies beyond is cut off, so that an odd
# restoration cannot run away in the products.
_FARTHEST = 4.0


class Detector(NamedTuple):
    """A trained detector: how features are scaled and what they weigh."""

    search: BlobSearch
    mean: Float[np.ndarray, " feature"]
    deviation: Float[np.ndarray, " feature"]
    weights: Float[np.ndarray, " term"]


class TrainingSlice(NamedTuple):
    """A full-dose slice in HU, its lungs, mm between pixels (y, x), and the nodules in it."""

    image: Shaped[np.ndarray, "y x"]
    lungs: Bool[np.ndarray, "y x"]
    spacing: tuple[float, float]
    nodules: Lesions


def train(
    slices: Sequence[TrainingSlice], search: BlobSearch | None = None, ridge: float = 3.0
) -> Detector:
    """A detector from full-dose slices whose nodules are known; deterministic.

    Args:
      slices: with nodules in some of them (`medjax.physics.lesion_sites.random_nodules`).
      search: what counts as a candidate.
      ridge: penalty on the squared weights.

    Raises:
      ValueError: there is no slice, no candidate lies on a nodule, or none beside.
    """
    if not slices:
        raise ValueError("there is no slice to train on")
    search = BlobSearch() if search is None else search
    features, on_nodule = [], []
    for image, lungs, spacing, nodules in slices:
        position, described = find_blobs(image, lungs, spacing, search)
        distance = np.linalg.norm(position[:, None] - nodules.centre_mm, axis=2)
        on_nodule.append((distance <= nodules.radius_mm).any(axis=1))
        features.append(described)
    x, y = np.concatenate(features), np.concatenate(on_nodule)
    if y.all() or not y.any():
        raise ValueError(f"{np.count_nonzero(y)} of {len(y)} candidates lie on a nodule")
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    return Detector(search, mean, deviation, _logistic(_terms(x, mean, deviation), y, ridge))


def detect(
    detector: Detector,
    image: Shaped[np.ndarray, "y x"],
    lungs: Bool[np.ndarray, "y x"],
    spacing: tuple[float, float],
) -> Candidates:
    """Candidates of one slice: y and x in mm, and log odds as score.

    Args:
      detector: from `train`.
      image: HU, restored or not.
      lungs: where to search; from the reference, the same for every method
        (`medjax.physics.lesion_sites.lung_mask`).
      spacing: mm between rows and between columns.
    """
    position, features = find_blobs(image, lungs, spacing, detector.search)
    terms = _terms(features, detector.mean, detector.deviation)
    return Candidates(position, terms @ detector.weights)


def train_detector(
    slices: Sequence[Shaped[np.ndarray, "y x"]],
    scanned: Sequence[Shaped[np.ndarray, "y x"]],
    spacing: Spacing,
    seed: int,
    *,
    repeats: int = 6,
    filter: Filter = "hann",
    design: ProbeDesign | None = None,
    lungs: Sequence[Bool[np.ndarray, "y x"]] | None = None,
) -> Detector:
    """The fixed detector, from full-dose scans of other slices than those judged.

    Nodules are added to the scanned slices through the virtual scanner's own blur, so that one
    scan of a slice serves many sets of nodules; the noise does not know of them.

    Args:
      slices: HU, as they go into the virtual scanner.
      scanned: the same at full dose.
      spacing: slice thickness and mm between rows and columns.
      seed: of the nodules.
      repeats: sets of nodules a slice.
      filter: the scanner's, for its blur.
      design: which nodules.
      lungs: from `lung_mask`, for crops; None: found here.
    """
    design = ProbeDesign() if design is None else design
    training = []
    for number, (image, scan) in enumerate(zip(slices, scanned, strict=True)):
        plane = np.asarray(image, np.float32)[None]
        inside = lung_mask(plane, spacing) if lungs is None else np.asarray(lungs[number])[None]
        for repeat in range(repeats):
            records = random_nodules(
                plane,
                spacing,
                design.nodules,
                seed + 1000 * repeat + number,
                design.nodule_model,
                inside,
            )
            added = insert(np.zeros_like(plane), records, spacing)
            blurred = np.asarray(local_blur(jnp.asarray(added[..., None]), filter))[0, ..., 0]
            training.append(TrainingSlice(scan + blurred, inside[0], spacing[1:], extents(records)))
    return train(training)


def _terms(
    features: Float[np.ndarray, "blob feature"],
    mean: Float[np.ndarray, " feature"],
    deviation: Float[np.ndarray, " feature"],
) -> Float[np.ndarray, "blob term"]:
    """One, the scaled features, and all products of two."""
    scaled = np.clip((features - mean) / deviation, -_FARTHEST, _FARTHEST)
    first, second = np.triu_indices(features.shape[1])
    products = scaled[:, first] * scaled[:, second]
    return np.concatenate([np.ones((len(scaled), 1)), scaled, products], axis=1)


def _logistic(
    terms: Float[np.ndarray, "blob term"], hit: Bool[np.ndarray, " blob"], ridge: float
) -> Float[np.ndarray, " term"]:
    """Weights that maximise the penalised likelihood; the constant is not penalised."""
    penalty = np.full(terms.shape[1], ridge)
    penalty[0] = 0.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = terms @ weights
        value = np.logaddexp(0, odds).sum() - odds[hit].sum()
        slope = (special.expit(odds) - hit) @ terms
        return value + 0.5 * penalty @ weights**2, slope + penalty * weights

    start = np.zeros(terms.shape[1])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return found.x
