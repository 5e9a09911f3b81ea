"""Sharpness at a stated contrast: the task transfer function of an inserted disc.

A restoration that is no linear filter has no one MTF: strong edges survive what faint ones do not.
So a disc of known place, size and contrast is inserted before the dose is lowered
(`medjax.physics.lesions`, shape "rod", `mtf50=None`), and the edge that comes out of scanner and
restoration is measured, at low contrast (50 HU, a lesion against its organ) and at high contrast
(900 HU, bone or a nodule in lung). After Richard, Husarik, Yadava, Murphy, Samei, "Towards
task-based assessment of CT performance: system and object MTF across different reconstruction
algorithms", Medical Physics 2012, and AAPM Task Group 233, 2019: pixels sorted by their distance
from the disc's border, averaged over many repeats because one faint disc drowns in noise, slope,
Fourier transform.

On the host; the transform and its half are those of `medjax.metrics.sharpness`. A frequency
comes out about 0.5 % low at radius 10 mm, by the width of the averaging bins.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from medjax.metrics.sharpness import EdgeProfile, mtf50

LOW_CONTRAST_HU = 50.0
HIGH_CONTRAST_HU = 900.0
DISC_DIAMETER_MM = 20.0
# Under this the modulation transfer is mostly noise (TG-233).
ENOUGH_CNR = 15.0


class DiscResolution(NamedTuple):
    """What an inserted disc tells.

    Attributes:
      mtf50: cycles/mm at which half the modulation is left; NaN where the disc is lost.
      low: lower end of its 95 % bootstrap interval over the repeats; NaN with one repeat.
      high: upper end.
      contrast_hu: height of the disc as it came out. Less than was inserted: flattened.
      cnr: contrast over one pixel's noise outside the disc, times the root of the repeats: the
        total contrast-to-noise ratio, of which TG-233 wants 15 and more (`ENOUGH_CNR`).
      profile: the averaged edge, for `medjax.metrics.sharpness.mtf`.
      repeats: images behind it.
    """

    mtf50: float
    low: float
    high: float
    contrast_hu: float
    cnr: float
    profile: EdgeProfile
    repeats: int


def disc_resolution(
    images: Shaped[np.ndarray, "repeat y x"],
    centres_mm: Float[np.ndarray, "repeat 2"] | tuple[float, float],
    radius_mm: float,
    spacing: tuple[float, float],
    *,
    without: Shaped[np.ndarray, "repeat y x"] | None = None,
    reach_mm: float = 6.0,
    step_mm: float = 0.1,
    resamples: int = 200,
    seed: int = 0,
) -> DiscResolution:
    """Edge of an inserted disc, averaged over its circumference and over repeats.

    Args:
      images: HU; slices with the disc, each with other noise (and, if wished, elsewhere).
      centres_mm: y and x of the disc from the first pixel's centre; one, or one an image. Best not
        in the middle of a pixel, so that pixels lie at all distances from the border.
      radius_mm: of the disc.
      spacing: mm between rows and between columns.
      without: the same slices without the disc, given the same noise and the same restoration.
        Their difference is the disc as the method passes it on, free of anatomy and of most
        noise; needed wherever the background is not flat.
      reach_mm: how far the profile goes to either side of the border; its outer thirds are the
        plateaus, so nothing else may lie nearer than this.
      step_mm: distance between the profile's samples.
      resamples: bootstrap samples of the repeats for the interval.
      seed: of those.

    Raises:
      ValueError: shapes do not fit, reach_mm exceeds radius_mm or the profile leaves the image.
    """
    stack, centres = _checked(images, without, centres_mm, radius_mm, reach_mm)
    half = round(reach_mm / step_mm)
    distance = step_mm * np.arange(-half, half + 1)
    sums, squares, places, counts = (
        np.array(part)
        for part in zip(
            *(
                _binned(image, centre, radius_mm, spacing, half, step_mm)
                for image, centre in zip(stack, centres, strict=True)
            ),
            strict=True,
        )
    )

    def averaged(weight: np.ndarray) -> tuple[EdgeProfile, float]:
        return _profile(
            distance, weight @ sums, weight @ places, weight @ counts, int(weight.sum())
        )

    profile, contrast = averaged(np.ones(len(stack)))
    noise = _noise(sums, squares, counts, distance, reach_mm)
    cnr = abs(contrast) * np.sqrt(len(stack)) / noise if noise > 0 else float("inf")
    low, high = float("nan"), float("nan")
    if len(stack) > 1 and resamples:
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(stack), np.full(len(stack), 1 / len(stack)), size=resamples)
        found = [mtf50(averaged(draw.astype(float))[0]) for draw in draws]
        if np.isfinite(found).all():
            low, high = (float(end) for end in np.quantile(found, (0.025, 0.975)))
    return DiscResolution(mtf50(profile), low, high, contrast, float(cnr), profile, len(stack))


def _checked(
    images: np.ndarray,
    without: np.ndarray | None,
    centres_mm: np.ndarray | tuple[float, float],
    radius_mm: float,
    reach_mm: float,
) -> tuple[Float[np.ndarray, "repeat y x"], Float[np.ndarray, "repeat 2"]]:
    stack = np.asarray(images, np.float64)
    if stack.ndim != 3 or not len(stack):
        raise ValueError(f"need images [repeat, y, x], got {stack.shape}")
    if without is not None:
        if np.shape(without) != stack.shape:
            raise ValueError(f"shapes differ: {stack.shape} with, {np.shape(without)} without")
        stack = stack - np.asarray(without, np.float64)
    centres = np.asarray(centres_mm, np.float64)
    if centres.shape not in ((2,), (len(stack), 2)):
        raise ValueError(f"centres_mm must be (2,) or ({len(stack)}, 2), got {centres.shape}")
    if not 0 < reach_mm <= radius_mm:
        raise ValueError(f"reach_mm {reach_mm} must be positive and within radius {radius_mm}")
    return stack, np.broadcast_to(centres, (len(stack), 2))


def _binned(
    image: Float[np.ndarray, "y x"],
    centre: Float[np.ndarray, "2"],
    radius: float,
    spacing: tuple[float, float],
    half: int,
    step: float,
) -> tuple[np.ndarray, ...]:
    """Per bin of distance inside the border: sums of value, squared value, distance; count."""
    far = radius + (half + 0.5) * step
    size = [(n - 1) * s for n, s in zip(image.shape, spacing, strict=True)]
    if min(centre) < far or (centre + far > size).any():
        raise ValueError(f"a profile {far:.1f} mm around {centre.tolist()} mm leaves the image")
    y, x = (np.arange(n) * s - c for n, s, c in zip(image.shape, spacing, centre, strict=True))
    inside = radius - np.hypot(y[:, None], x)
    which = np.round(inside / step).astype(int) + half
    near = (which >= 0) & (which <= 2 * half)
    where, value, place = which[near], image[near], inside[near]
    return tuple(
        np.bincount(where, weight, 2 * half + 1)
        for weight in (value, value * value, place, np.ones_like(value))
    )


def _profile(
    distance: Float[np.ndarray, " samples"],
    sums: Float[np.ndarray, " samples"],
    places: Float[np.ndarray, " samples"],
    counts: Float[np.ndarray, " samples"],
    repeats: int,
) -> tuple[EdgeProfile, float]:
    """Profile from 0 outside to 1 inside, and its height in HU."""
    filled = counts > 0
    at, value = places[filled] / counts[filled], sums[filled] / counts[filled]
    mean = np.interp(distance, at, value)
    reach = distance[-1]
    low, high = mean[distance <= -2 / 3 * reach].mean(), mean[distance >= 2 / 3 * reach].mean()
    height = float(high - low)
    shares = (mean - low) / height if height else np.full(len(mean), np.nan)
    return EdgeProfile(distance, shares, repeats), height


def _noise(
    sums: np.ndarray, squares: np.ndarray, counts: np.ndarray, distance: np.ndarray, reach: float
) -> float:
    """Standard deviation of one pixel on the plateau outside the disc, in HU."""
    plateau = distance <= -2 / 3 * reach
    n = counts[:, plateau].sum(axis=1)
    mean = sums[:, plateau].sum(axis=1) / n
    variance = squares[:, plateau].sum(axis=1) / n - mean * mean
    return float(np.sqrt(max(variance.mean(), 0.0)))
