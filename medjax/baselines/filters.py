"""Classical filters, tuned on training pairs: what a trained method has to beat.

Images are one case on the host, `[*space]` in HU, with the noise level sigma in HU beside them.
The noise is measured by `estimate_sigma` where the true level is not given.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pywt
from jaxtyping import Float
from scipy import ndimage
from skimage import exposure, restoration

from medjax.metrics.quality import psnr

Image = Float[np.ndarray, "*space"]
Filter = Callable[..., Image]

SOFT_TISSUE = (-160.0, 240.0)
# Half of a normal distribution lies within this many standard deviations.
NORMAL_QUARTILE = 0.6744897501960817


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


def standard(window: tuple[float, float] = SOFT_TISSUE) -> tuple[Baseline, ...]:
    """The filters in everyday use, with textbook parameters and the grids to tune them on.

    Args:
      window: lowest and highest HU between which histogram equalisation and CLAHE act (their
        output is clipped to it); the noise filters see all HU and ignore it.
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window must rise, got {window}")
    ends = {"low": float(low), "high": float(high)}
    strengths = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
    return (
        Baseline("histogram equalisation", equalise, ends),
        Baseline(
            "CLAHE",
            clahe,
            {**ends, "clip_limit": 0.01, "tiles": 8},
            {"clip_limit": (0.001, 0.002, 0.005, 0.01, 0.03), "tiles": (4, 8, 16)},
        ),
        Baseline("median 3", median, {"size": 3}),
        Baseline("median 5", median, {"size": 5}),
        Baseline(
            "bilateral",
            bilateral,
            {"strength": 2.0, "radius": 1.5},
            {"strength": (1.0, 2.0, 3.0, 5.0), "radius": (1.0, 1.5, 2.5)},
            dimensions=(2,),
        ),
        Baseline("TV", total_variation, {"strength": 1.0}, {"strength": strengths}),
        Baseline(
            "NLM",
            nonlocal_means,
            {"strength": 0.8, "patch": 5, "reach": 6},
            {"strength": (0.4, 0.6, 0.8, 1.0, 1.5, 2.0), "patch": (3, 5, 7)},
        ),
        Baseline(
            "wavelet",
            wavelet,
            {"strength": 0.5, "rule": "VisuShrink", "spins": 2},
            {"strength": (0.25, 0.5, *strengths[2:]), "rule": ("BayesShrink", "VisuShrink")},
        ),
    )


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


def estimate_sigma(image: Image) -> float:
    """Standard deviation of the noise in the image's unit, blind.

    The median absolute value of the finest diagonal Daubechies-2 wavelet coefficients over
    0.6745 (Donoho and Johnstone, Biometrika 1994), as in scikit-image, and 0 for a constant image.
    Exact for white noise; CT
    noise after a smooth kernel has little power in that band and is *underestimated*, which is
    why the grids of `standard` reach up to four times the level they are given.
    """
    details = pywt.dwtn(np.asarray(image, dtype=np.float32), "db2")["d" * image.ndim]
    # Exact zeros are padding outside the field of view, where there is no noise to measure.
    details = np.abs(details[details != 0])
    return float(np.median(details) / NORMAL_QUARTILE) if details.size else 0.0


def median(image: Image, sigma: float, *, size: int) -> Image:
    """Median over a square (2-D) or cube (3-D) of `size` samples a side; ignores sigma."""
    del sigma
    return ndimage.median_filter(image, size=size, mode="nearest")


def equalise(image: Image, sigma: float, *, low: float, high: float) -> Image:
    """Histogram equalisation between `low` and `high` HU; ignores sigma.

    The image is clipped to the window, its 256-bin cumulative histogram becomes the grey level
    and is stretched back over the window. The output has HU's *range* but no longer its meaning.
    A constant image comes back clipped.
    """
    del sigma
    clipped = np.clip(image, low, high)
    if np.ptp(clipped) == 0:
        return clipped
    return low + (high - low) * exposure.equalize_hist(clipped, nbins=256)


def clahe(
    image: Image, sigma: float, *, low: float, high: float, clip_limit: float, tiles: int
) -> Image:
    """Contrast-limited adaptive histogram equalisation between `low` and `high` HU.

    Zuiderveld, Graphics Gems IV, 1994. The image is clipped to the window, equalised in `tiles`
    tiles an axis and mapped back so that its lowest and highest HU stay where they were; in
    between, HU lose their meaning. A constant image comes back clipped. Ignores sigma.
    """
    del sigma
    clipped = np.clip(image, low, high)
    floor, height = float(clipped.min()), float(np.ptp(clipped))
    if height == 0:
        return clipped
    kernel = [max(n // tiles, 1) for n in image.shape]
    unit = (clipped - floor) / height
    equal = exposure.equalize_adapthist(unit, kernel_size=kernel, clip_limit=clip_limit)
    return floor + height * equal


def bilateral(image: Image, sigma: float, *, strength: float, radius: float) -> Image:
    """Bilateral filter (Tomasi and Manduchi, ICCV 1998), 2-D only.

    Args:
      image: one slice in HU.
      sigma: noise level in HU; at 0 the image comes back as it is.
      strength: the intensity kernel's standard deviation is strength·sigma HU.
      radius: the space kernel's standard deviation in pixels.
    """
    if sigma == 0:
        return image
    return (
        restoration.denoise_bilateral(
            image - image.min(), sigma_color=strength * sigma, sigma_spatial=radius, mode="edge"
        )
        + image.min()
    )


def total_variation(image: Image, sigma: float, *, strength: float) -> Image:
    """Total-variation denoising (Chambolle, JMIV 2004) with weight strength·sigma."""
    if sigma == 0:
        return image
    return restoration.denoise_tv_chambolle(image, weight=strength * sigma)


def nonlocal_means(image: Image, sigma: float, *, strength: float, patch: int, reach: int) -> Image:
    """Non-local means (Buades, Coll, Morel, CVPR 2005) in the fast form of Darbon et al. 2008.

    Args:
      image: `[*space]` in HU.
      sigma: noise level in HU, taken off the patch distances.
      strength: the decay h is strength·sigma.
      patch: side of the compared patches in samples.
      reach: how many samples away patches are looked for.
    """
    if sigma == 0:
        return image
    return restoration.denoise_nl_means(
        image,
        patch_size=patch,
        patch_distance=reach,
        h=strength * sigma,
        sigma=sigma,
        fast_mode=True,
        preserve_range=True,
    )


def wavelet(image: Image, sigma: float, *, strength: float, rule: str, spins: int) -> Image:
    """Soft thresholding of the db2 wavelet transform, averaged over shifts of the image.

    Args:
      image: `[*space]` in HU.
      sigma: noise level in HU.
      strength: the rule is told a noise level of strength·sigma.
      rule: "BayesShrink" (Chang, Yu, Vetterli, IEEE TIP 2000), one threshold a subband, or
        "VisuShrink" (Donoho and Johnstone 1994), one for all: where air beside bone fills the
        subbands with edges, BayesShrink hardly touches the noise.
      spins: shifts tried along each axis, spins^axes in all (cycle spinning: Coifman and Donoho,
        1995); 1: none.
    """
    if sigma == 0:
        return image
    total = np.zeros_like(image)
    shifts = list(itertools.product(range(spins), repeat=image.ndim))
    axes = tuple(range(image.ndim))
    for shift in shifts:
        moved = restoration.denoise_wavelet(
            np.roll(image, shift, axes),
            sigma=strength * sigma,
            wavelet="db2",
            method=rule,
            rescale_sigma=False,
        )
        total += np.roll(moved, tuple(-s for s in shift), axes)
    return total / len(shifts)


def _psnr(
    restored: Image, clean: Image, data_range: float, window: tuple[float, float] | None
) -> float:
    images = [np.asarray(image, dtype=np.float32) for image in (restored, clean)]
    if window is not None:
        images = [np.clip(image, *window) for image in images]
    a, b = (image[None, ..., None] for image in images)
    return float(psnr(a, b, data_range=data_range)[0])
