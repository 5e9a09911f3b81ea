"""Edge sharpness on real anatomy: averaged edge profiles, 10-90 % width and MTF.

Edges are found on the reference alone. Each gives a profile across it, sampled between the pixels
and aligned where the *reference* passes half height; the restored image is sampled at the very
same points and the profiles are averaged, so noise averages out and blur does not. After the edge
method of ISO 12233 and, on patients, Sanders, Hurwitz, Samei, "Patient-specific quantification of
image quality: an automated method for measuring spatial resolution in clinical CT images", Medical
Physics 2016.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage, optimize
from scipy.signal.windows import tukey

Image = Float[np.ndarray, "*space"]


class EdgeWidth(NamedTuple):
    """10-90 % edge rise distance in mm (NaN without edges) and the number of edges behind it."""

    width_mm: float
    edges: int


class EdgeProfile(NamedTuple):
    """Averaged profile across the edges, 0 on the low side and 1 on the high side.

    Attributes:
      distance_mm: evenly spaced distances from the edge, rising.
      value: share of the edge's height reached there.
      edges: number of edges averaged.
    """

    distance_mm: Float[np.ndarray, " samples"]
    value: Float[np.ndarray, " samples"]
    edges: int


@dataclasses.dataclass(frozen=True)
class EdgeSearch:
    """Which edges of the reference are measured.

    Attributes:
      reach_mm: half length of the profiles; the outer third on either side is the plateau.
      step_mm: distance between the profiles' samples.
      smallest_hu: least height between the plateaus.
      unevenness: how far, in shares of the height, the smoothed reference may leave a plateau's
        mean within that plateau and run against the edge's direction in between.
      smoothing: standard deviation of the Gaussian for finding edges, in pixels.
      most: edges kept a slice, those of the largest height.
    """

    reach_mm: float = 6.0
    step_mm: float = 0.1
    smallest_hu: float = 150.0
    unevenness: float = 0.12
    smoothing: float = 1.0
    most: int = 1000

    @property
    def distance_mm(self) -> Float[np.ndarray, " samples"]:
        """Where the profiles are sampled, from -reach to reach."""
        half = round(self.reach_mm / self.step_mm)
        return self.step_mm * np.arange(-half, half + 1)


@dataclasses.dataclass(frozen=True)
class Edges:
    """Edges of one slice: where, which way they rise and between which HU.

    Attributes:
      centre_mm: (edge, 2), y and x of the half-height point from the first pixel's centre.
      normal: (edge, 2), unit vector in mm, y and x, towards the high side.
      low: HU of the low plateau on the reference, one an edge.
      high: HU of the high plateau.
    """

    centre_mm: Float[np.ndarray, "edge 2"]
    normal: Float[np.ndarray, "edge 2"]
    low: Float[np.ndarray, " edge"]
    high: Float[np.ndarray, " edge"]


DEFAULT_SEARCH = EdgeSearch()


def edge_width_mm(
    restored: Image,
    reference: Image,
    spacing: Sequence[float],
    search: EdgeSearch = DEFAULT_SEARCH,
) -> EdgeWidth:
    """10-90 % edge rise distance of the restored image at the reference's edges.

    A Gaussian blur of standard deviation s gives 2.563 s. Give the reference itself as `restored`
    for the value to compare with; smaller than that is sharpening, not merit.

    Args:
      restored: the image to judge, one slice (y, x) or volume (z, y, x), HU.
      reference: the image whose edges are measured, HU.
      spacing: mm between samples along each axis.
      search: which edges count.

    Raises:
      ValueError: the shapes differ, are not 2-D or 3-D or spacing has another length.
    """
    profile = edge_profile(restored, reference, spacing, search)
    return EdgeWidth(rise_width_mm(profile), profile.edges)


def edge_profile(
    restored: Image,
    reference: Image,
    spacing: Sequence[float],
    search: EdgeSearch = DEFAULT_SEARCH,
) -> EdgeProfile:
    """Mean profile of the restored image across the reference's edges; as `edge_width_mm`.

    Each profile is scaled by the reference's plateaus, the mean by its own; without edges the
    values are NaN.
    """
    a, b = np.asarray(restored, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: restored {a.shape}, reference {b.shape}")
    if a.ndim not in (2, 3) or len(spacing) != a.ndim:
        raise ValueError(f"need (y, x) or (z, y, x) with its spacing, got {a.shape}, {spacing}")
    in_plane = (float(spacing[-2]), float(spacing[-1]))
    distance = search.distance_mm
    total, count = np.zeros(len(distance)), 0
    planes = (image.reshape(-1, *image.shape[-2:]) for image in (a, b))
    for plane, guide in zip(*planes, strict=True):
        edges = find_edges(guide, in_plane, search)
        if len(edges.low):
            profiles = _sample(plane, edges.centre_mm, edges.normal, distance, in_plane)
            height = (edges.high - edges.low)[:, None]
            total += ((profiles - edges.low[:, None]) / height).sum(axis=0)
            count += len(edges.low)
    if not count:
        return EdgeProfile(distance, np.full(len(distance), np.nan), 0)
    mean = total / count
    low, high = (mean[side].mean() for side in _plateaus(distance, search.reach_mm))
    return EdgeProfile(distance, (mean - low) / (high - low), count)


def find_edges(
    reference: Float[np.ndarray, "y x"],
    spacing: tuple[float, float],
    search: EdgeSearch = DEFAULT_SEARCH,
) -> Edges:
    """Strong, single, clean edges of one slice, to a fraction of a pixel.

    Candidates are the ridges of the Gaussian gradient. One is kept if its smoothed profile has
    two even plateaus `smallest_hu` apart and rises between them without turning back; its centre
    is where that profile passes half height.
    """
    image = np.asarray(reference, dtype=np.float64)
    centre, normal = _candidates(image, spacing, search)
    smooth = ndimage.gaussian_filter(image, search.smoothing, mode="nearest")
    distance = search.distance_mm
    profiles = _sample(smooth, centre, normal, distance, spacing)
    below, above = _plateaus(distance, search.reach_mm)
    low, high = profiles[:, below].mean(axis=1), profiles[:, above].mean(axis=1)
    height = high - low
    allowed = search.unevenness * height
    even = (np.abs(profiles[:, below] - low[:, None]).max(axis=1, initial=0) <= allowed) & (
        np.abs(profiles[:, above] - high[:, None]).max(axis=1, initial=0) <= allowed
    )
    turned = np.max(np.maximum.accumulate(profiles, axis=1) - profiles, axis=1, initial=0)
    keep = np.flatnonzero((height >= search.smallest_hu) & even & (turned <= allowed))
    shift = _half_height(profiles[keep], (low + high)[keep] / 2, distance)
    near = np.abs(shift) <= max(spacing)
    keep, shift = keep[near], shift[near]
    order = np.argsort(-height[keep], kind="stable")[: search.most]
    keep, shift = keep[order], shift[order]
    return Edges(centre[keep] + shift[:, None] * normal[keep], normal[keep], low[keep], high[keep])


def rise_width_mm(profile: EdgeProfile) -> float:
    """Distance between 10 % and 90 % of the profile's best non-decreasing fit, in mm."""
    if not profile.edges:
        return float("nan")
    fit = optimize.isotonic_regression(profile.value).x
    first, last = (_crossing(profile.distance_mm, fit, level) for level in (0.1, 0.9))
    return float(last - first)


def mtf(
    profile: EdgeProfile,
) -> tuple[Float[np.ndarray, " frequency"], Float[np.ndarray, " frequency"]]:
    """Modulation transfer function: the Fourier transform of the edge's slope.

    The slope is tapered to 0 over the outer half of the profile (Tukey window), where only noise
    and other anatomy are left, and the finite difference's own low-pass is divided out.

    Returns:
      Frequencies in cycles/mm from 0 in steps of 0.01 up to 2, and the modulation there, 1 at 0.
      A sharpening kernel may exceed 1. NaN without edges.
    """
    step = float(np.mean(np.diff(profile.distance_mm)))
    slope = np.diff(profile.value)
    slope = slope * tukey(len(slope), 0.5)
    middle = (profile.distance_mm[1:] + profile.distance_mm[:-1]) / 2
    frequency = np.arange(0, 201) * 0.01
    wave = np.exp(-2j * np.pi * frequency[:, None] * middle)
    modulation = np.abs(wave @ slope) / np.sinc(frequency * step)
    return frequency, modulation / modulation[0]


def mtf50(profile: EdgeProfile) -> float:
    """Frequency in cycles/mm at which the modulation falls to one half; NaN where it never does.

    A Gaussian blur of standard deviation s gives sqrt(ln 2 / (2 pi² s²)) = 0.1874 / s.
    """
    frequency, modulation = mtf(profile)
    under = np.flatnonzero(modulation < 0.5)
    if not len(under):
        return float("nan")
    i = under[0]
    share = (modulation[i - 1] - 0.5) / (modulation[i - 1] - modulation[i])
    return float(frequency[i - 1] + share * (frequency[i] - frequency[i - 1]))


def _candidates(
    image: Image, spacing: tuple[float, float], search: EdgeSearch
) -> tuple[Float[np.ndarray, "edge 2"], Float[np.ndarray, "edge 2"]]:
    """Centres (mm) and upward unit normals of the gradient's ridges, away from the border."""
    smooth = ndimage.gaussian_filter(image, search.smoothing, mode="nearest")
    slopes = [np.gradient(smooth, size, axis=axis) for axis, size in enumerate(spacing)]
    steepness = np.sqrt(np.square(slopes[0]) + np.square(slopes[1]))
    # The steepest point of the smallest edge worth having, blurred over a third of the reach.
    enough = search.smallest_hu / search.reach_mm
    y, x = np.nonzero(steepness >= enough)
    centre = np.stack([y * spacing[0], x * spacing[1]], axis=1)
    normal = np.stack([slope[y, x] for slope in slopes], axis=1) / steepness[y, x][:, None]
    size = (np.array(image.shape) - 1) * np.array(spacing)
    inside = ((centre >= search.reach_mm) & (centre <= size - search.reach_mm)).all(axis=1)
    centre, normal, steep = centre[inside], normal[inside], steepness[y, x][inside]
    both_ways = np.array([-1.0, 1.0])
    beside = _sample(steepness, centre, normal, both_ways * min(spacing), spacing)
    ridge = steep >= beside.max(axis=1, initial=0)
    centre, normal = centre[ridge], normal[ridge]
    # Two samples tell most of the noise from edges before whole profiles are taken.
    ends = _sample(smooth, centre, normal, both_ways * 5 / 6 * search.reach_mm, spacing)
    tall = ends[:, 1] - ends[:, 0] >= search.smallest_hu / 2
    return centre[tall], normal[tall]


def _sample(
    image: Image,
    centre: Float[np.ndarray, "edge 2"],
    normal: Float[np.ndarray, "edge 2"],
    distance: Float[np.ndarray, " samples"],
    spacing: tuple[float, float],
) -> Float[np.ndarray, "edge samples"]:
    """Cubic-spline samples along the normals; linear interpolation would blur what is measured."""
    points = centre[:, None] + distance[:, None] * normal[:, None]
    return ndimage.map_coordinates(
        image, np.moveaxis(points / np.array(spacing), -1, 0), order=3, mode="nearest"
    )


def _plateaus(
    distance: Float[np.ndarray, " samples"], reach: float
) -> tuple[np.ndarray, np.ndarray]:
    return distance <= -2 / 3 * reach, distance >= 2 / 3 * reach


def _half_height(
    profiles: Float[np.ndarray, "edge samples"],
    half: Float[np.ndarray, " edge"],
    distance: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, " edge"]:
    after = np.argmax(profiles >= half[:, None], axis=1)
    rows = np.arange(len(profiles))
    high, low = profiles[rows, after], profiles[rows, after - 1]
    return distance[after] - (high - half) / (high - low) * (distance[1] - distance[0])


def _crossing(x: np.ndarray, rising: np.ndarray, level: float) -> float:
    after = int(np.argmax(rising >= level))
    low, high = rising[after - 1], rising[after]
    return float(x[after] - (high - level) / (high - low) * (x[after] - x[after - 1]))
