"""Edge sharpness on real anatomy: averaged edge profiles, 10-90 % width and MTF.

Edges are found on the reference alone (`medjax.metrics.edges`). Each gives a profile across it,
sampled between the pixels and aligned where the *reference* passes half height; the restored image
is sampled at the very same points and the profiles are averaged, so noise averages out and blur
does not. After the edge method of ISO 12233 and, on patients, Sanders, Hurwitz, Samei,
"Patient-specific quantification of image quality: an automated method for measuring spatial
resolution in clinical CT images", Medical Physics 2016.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize
from scipy.signal.windows import tukey

from medjax.metrics.edges import DEFAULT_SEARCH, EdgeSearch, Image, find_edges, plateaus, sample


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
            profiles = sample(plane, edges.centre_mm, edges.normal, distance, in_plane)
            height = (edges.high - edges.low)[:, None]
            total += ((profiles - edges.low[:, None]) / height).sum(axis=0)
            count += len(edges.low)
    if not count:
        return EdgeProfile(distance, np.full(len(distance), np.nan), 0)
    mean = total / count
    low, high = (mean[side].mean() for side in plateaus(distance, search.reach_mm))
    return EdgeProfile(distance, (mean - low) / (high - low), count)


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


def _crossing(x: np.ndarray, rising: np.ndarray, level: float) -> float:
    after = int(np.argmax(rising >= level))
    low, high = rising[after - 1], rising[after]
    return float(x[after] - (high - level) / (high - low) * (x[after] - x[after - 1]))
