"""Classical filters, tuned on training pairs: what a trained method has to beat.

Images are one case on the host, `[*space]` in HU, with the noise level sigma in HU beside them.
The noise is measured by `estimate_sigma` where the true level is not given.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.baselines import block_matching, n4
from medjax.baselines.classical import (
    Image,
    bilateral,
    clahe,
    equalise,
    estimate_sigma,
    median,
    nonlocal_means,
    total_variation,
    wavelet,
)
from medjax.baselines.deblur import wiener
from medjax.baselines.exposure import auto_gamma
from medjax.baselines.inpaint import biharmonic, linear, nearest
from medjax.baselines.temporal import (
    despike,
    repair_and_pca,
    slice_repair,
    temporal_gaussian,
    temporal_median,
    temporal_pca,
)
from medjax.metrics.quality import psnr

Filter = Callable[..., Image]

SOFT_TISSUE = (-160.0, 240.0)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A filter with the parameters it runs with and those that `tune` may choose from.

    Attributes:
      name: what tables call it.
      filter: called as `filter(image, sigma, **parameters)`.
      parameters: what it runs with now.
      grid: the values that `tune` tries for each parameter named here; empty: nothing to tune.
      dimensions: the numbers of space axes it accepts.
    """

    name: str
    filter: Filter
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    dimensions: tuple[int, ...] = (2, 3)

    def run(self, image: Image, sigma: float | None = None) -> Image:
        """The filtered image, float32, in HU.

        Args:
          image: one case `[*space]` in HU, no batch or channel axis.
          sigma: standard deviation of the noise in HU; None: `estimate_sigma(image)`.

        Raises:
          ValueError: the filter does not take that many axes, sigma is negative or the image
            holds NaN or infinity.
        """
        image = np.ascontiguousarray(image, dtype=np.float32)
        if image.ndim not in self.dimensions:
            raise ValueError(f"{self.name} takes {self.dimensions} space axes, got {image.shape}")
        if not np.isfinite(image).all():
            raise ValueError(f"{self.name}: the image holds NaN or infinity")
        sigma = estimate_sigma(image) if sigma is None else float(sigma)
        if not sigma >= 0:
            raise ValueError(f"sigma must be 0 or more, got {sigma}")
        return np.asarray(self.filter(image, sigma, **self.parameters), dtype=np.float32)

    def with_parameters(self, **parameters: Any) -> "Baseline":
        """The same filter with some parameters changed."""
        return dataclasses.replace(self, parameters={**self.parameters, **parameters})


Window = tuple[float, float]
STRENGTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
REPAIR = (4.0, 2.0, 3.0, 6.0, 10.0)
PCA = (1.0, 0.4, 0.6, 0.8)


def _ends(window: Window) -> dict[str, float]:
    low, high = window
    if not low < high:
        raise ValueError(f"window must rise, got {window}")
    return {"low": float(low), "high": float(high)}


def _series(name: str, filter: Filter, **grid: Sequence[Any]) -> Baseline:
    """A filter of series of volumes; the first value of each parameter is the textbook's."""
    choices = {key: values for key, values in grid.items() if len(values) > 1}
    first = {key: values[0] for key, values in grid.items()}
    return Baseline(name, filter, first, choices, dimensions=(4,))


# What makes each filter for a display window: histogram equalisation and CLAHE act between its
# ends and clip to them; the noise filters see all values and ignore it.
FILTERS: Mapping[str, Callable[[Window], Baseline]] = {
    "histogram equalisation": lambda window: Baseline(
        "histogram equalisation", equalise, _ends(window)
    ),
    "CLAHE": lambda window: Baseline(
        "CLAHE",
        clahe,
        {**_ends(window), "clip_limit": 0.01, "tiles": 8},
        {"clip_limit": (0.001, 0.002, 0.005, 0.01, 0.03), "tiles": (4, 8, 16)},
    ),
    "median 3": lambda _: Baseline("median 3", median, {"size": 3}),
    "median 5": lambda _: Baseline("median 5", median, {"size": 5}),
    "bilateral": lambda _: Baseline(
        "bilateral",
        bilateral,
        {"strength": 2.0, "radius": 1.5},
        {"strength": (1.0, 2.0, 3.0, 5.0), "radius": (1.0, 1.5, 2.5, 4.0)},
        dimensions=(2,),
    ),
    "TV": lambda _: Baseline("TV", total_variation, {"strength": 1.0}, {"strength": STRENGTHS}),
    "NLM": lambda _: Baseline(
        "NLM",
        nonlocal_means,
        {"strength": 0.8, "patch": 5, "reach": 6},
        {"strength": (0.4, 0.6, 0.8, 1.0, 1.5, 2.0), "patch": (3, 5, 7, 9)},
    ),
    "wavelet": lambda _: Baseline(
        "wavelet",
        wavelet,
        {"strength": 0.5, "rule": "VisuShrink", "spins": 2},
        {"strength": (0.25, 0.5, *STRENGTHS[2:]), "rule": ("BayesShrink", "VisuShrink")},
    ),
    "Wiener": lambda _: Baseline(
        "Wiener",
        wiener,
        {"blur": 1.5, "balance": 0.3},
        {"blur": (0.7, 1.0, 1.5, 2.0), "balance": (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)},
        dimensions=(2,),
    ),
    "auto gamma": lambda window: Baseline(
        "auto gamma",
        auto_gamma,
        {**_ends(window), "target": 0.5},
        {"target": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)},
    ),
    "nearest fill": lambda _: Baseline("nearest fill", nearest),
    "linear fill": lambda _: Baseline("linear fill", linear),
    "biharmonic fill": lambda _: Baseline("biharmonic fill", biharmonic, {"tile": 48, "reach": 16}),
    "temporal median 3": lambda _: _series("temporal median 3", temporal_median, size=(3,)),
    "temporal median 5": lambda _: _series("temporal median 5", temporal_median, size=(5,)),
    "temporal Gaussian": lambda _: _series(
        "temporal Gaussian", temporal_gaussian, volumes=(1.0, 0.5, 0.7, 1.5, 2.0, 3.0)
    ),
    "despike": lambda _: _series("despike", despike, threshold=(3.0, 2.0, 4.0, 6.0)),
    "slice repair": lambda _: _series("slice repair", slice_repair, threshold=REPAIR),
    "temporal PCA": lambda _: _series("temporal PCA", temporal_pca, strength=PCA),
    "slice repair + PCA": lambda _: _series(
        "slice repair + PCA", repair_and_pca, threshold=REPAIR, strength=PCA
    ),
    "BM3D": lambda _: Baseline(
        "BM3D",
        block_matching.block_matching,
        {"noise": "hann", "strength": 1.0},
        {"strength": (1.0, 1.5, 2.0)},
        dimensions=(2,),
    ),
    "N4": lambda _: Baseline("N4", n4.n4),
}


# Of filters that need a package medjax does not depend on: whether it is installed.
OPTIONAL: Mapping[str, Callable[[], bool]] = {
    "BM3D": block_matching.available,
    "N4": n4.available,
}


def named(names: Sequence[str], window: Window = SOFT_TISSUE) -> tuple[Baseline, ...]:
    """The filters of these names, with textbook parameters and the grids to tune them on.

    Args:
      names: keys of `FILTERS`.
      window: lowest and highest value that are shown.
    """
    return tuple(FILTERS[name](window) for name in names)


def tune(
    baseline: Baseline,
    pairs: Sequence[tuple[Image, Image]],
    data_range: float,
    *,
    sigmas: Sequence[float] | None = None,
    window: tuple[float, float] | None = None,
) -> Baseline:
    """The baseline with the parameters of its grid that give the best mean PSNR on the pairs.

    Give it the *training* pairs: then the filter has seen what the trained method has, no less
    and no more. Every combination of the grid is tried on every pair; the first of equals wins.

    Args:
      baseline: whose `grid` says what to try.
      pairs: (degraded, clean) images in HU.
      data_range: of the PSNR, in HU.
      sigmas: the true noise level of each degraded image; None: estimated from each.
      window: clip both images to these HU before the PSNR, as the evaluation does.

    Raises:
      ValueError: no pairs, or not one sigma a pair.
    """
    if not pairs:
        raise ValueError("tune needs at least one (degraded, clean) pair")
    if sigmas is None:
        sigmas = [estimate_sigma(degraded) for degraded, _ in pairs]
    if len(sigmas) != len(pairs):
        raise ValueError(f"{len(sigmas)} sigmas for {len(pairs)} pairs")
    candidates = [
        baseline.with_parameters(**dict(zip(baseline.grid, values, strict=True)))
        for values in itertools.product(*baseline.grid.values())
    ]
    if len(candidates) == 1:
        return candidates[0]

    def score(candidate: Baseline) -> float:
        scores = [
            _psnr(candidate.run(degraded, sigma), clean, data_range, window)
            for (degraded, clean), sigma in zip(pairs, sigmas, strict=True)
        ]
        return float(np.mean(scores))

    return max(candidates, key=score)


def _psnr(
    restored: Image, clean: Image, data_range: float, window: tuple[float, float] | None
) -> float:
    images = [np.asarray(image, dtype=np.float32) for image in (restored, clean)]
    if window is not None:
        images = [np.clip(image, *window) for image in images]
    a, b = (image[None, ..., None] for image in images)
    return float(psnr(a, b, data_range=data_range)[0])
