"""Can the lesion be found at all? Detectability d' by a channelised Hotelling observer.

A mathematical reader looks at regions with and without a lesion of known place, sees them through a
few channels as the visual system does, and weighs the channels as well as their covariance allows.
d' is how far apart its answers lie in standard deviations: 0 is guessing, 1 finds it in 76 % of
two-alternative forced choices, 3 in 98 % (`two_alternative_accuracy`). It is what stands
against "less noise": a filter that smears lesion and noise alike lowers the noise and leaves d'
where it was.

Channels: dense difference of Gaussians (Abbey, Barrett, JOSA A 2001) for round lesions, Gabor
(Eckstein, Abbey, Bochud 2000; Leng et al., Medical Physics 2013) for others. Estimate, its bias
correction and its exact interval: Wunderlich, Noo, Gallas, Heilbrun, "Exact confidence intervals
for channelized Hotelling observer performance in image quality studies", IEEE TMI 2015. On the
host.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy import linalg, optimize, stats

Channels = Float[np.ndarray, "channel y x"]
Regions = Shaped[np.ndarray, "region y x"]


class Detectability(NamedTuple):
    """d' of a lesion and its interval.

    Attributes:
      dprime: corrected for bias; 0 where the regions show nothing beyond chance.
      low: lower end of the interval.
      high: upper end.
      present: regions with the lesion.
      absent: regions without.
    """

    dprime: float
    low: float
    high: float
    present: int
    absent: int


def dog_channels(
    size: int, *, count: int = 10, first: float = 0.005, growth: float = 1.4, width: float = 1.67
) -> Channels:
    """Dense difference-of-Gaussian channels: round, octave-like bands that overlap.

    In frequency exp(−½(f/(width·σ))²) − exp(−½(f/σ)²) with σ = first·growth^j cycles/pixel. The
    defaults are Abbey and Barrett's ten.

    Args:
      size: side of the regions in pixels.
      count: channels.
      first: σ of the lowest band, cycles/pixel.
      growth: of σ from band to band.
      width: outer over inner σ.

    Returns:
      Channel profiles of unit length, centred on pixel (size // 2, size // 2).
    """
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size)] * 2, indexing="ij"))
    sigma = first * growth ** np.arange(count)[:, None, None]
    bands = np.exp(-0.5 * (f / (width * sigma)) ** 2) - np.exp(-0.5 * (f / sigma) ** 2)
    return _unit(np.fft.fftshift(np.fft.ifft2(bands).real, axes=(1, 2)))


def gabor_channels(
    size: int,
    *,
    frequencies: tuple[float, ...] = (3 / 128, 3 / 64, 3 / 32, 3 / 16),
    orientations: int = 5,
    phases: tuple[float, ...] = (0.0, np.pi / 2),
) -> Channels:
    """Gabor channels: waves of given frequency, direction and phase under a Gaussian.

    The Gaussian's width gives each a bandwidth of one octave. The defaults are the forty of Leng et
    al.; they need several hundred regions for a narrow interval.

    Args:
      size: side of the regions in pixels.
      frequencies: centres of the pass bands, cycles/pixel.
      orientations: directions, even over half a turn.
      phases: in radians; even and odd waves.

    Returns:
      Channel profiles of unit length, centred on pixel (size // 2, size // 2).
    """
    y, x = np.meshgrid(*[np.arange(size) - size // 2] * 2, indexing="ij")
    channels = []
    for frequency in frequencies:
        # Full width at half maximum of the Gaussian for a bandwidth of one octave.
        fwhm = 4 * np.log(2) / (np.pi * 2 / 3 * frequency)
        envelope = np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2)
        for turn in np.arange(orientations) * np.pi / orientations:
            along = x * np.cos(turn) + y * np.sin(turn)
            channels += [
                envelope * np.cos(2 * np.pi * frequency * along + phase) for phase in phases
            ]
    return _unit(np.array(channels))


def regions_at(
    image: Shaped[np.ndarray, "y x"], centres: Shaped[np.ndarray, "region 2"], size: int
) -> Float[np.ndarray, "region size size"]:
    """Square regions around pixels, the pixel at (size // 2, size // 2).

    Args:
      image: HU.
      centres: row and column of each, whole numbers.
      size: side in pixels.

    Raises:
      ValueError: a region leaves the image.
    """
    corners = np.asarray(centres, int).reshape(-1, 2) - size // 2
    if (corners < 0).any() or (corners + size > np.shape(image)).any():
        raise ValueError(f"a region of {size} pixels leaves the image of {np.shape(image)}")
    cut = [image[y : y + size, x : x + size] for y, x in corners]
    return np.array(cut, np.float64).reshape(-1, size, size)


def detectability(
    present: Regions, absent: Regions, channels: Channels, *, level: float = 0.95
) -> Detectability:
    """d' of the lesion in `present`, with its exact confidence interval.

    The plug-in value of Hotelling's observer, trained and judged on the same regions, is too high,
    the more so the fewer regions there are for its channels. With ν degrees of freedom of the
    pooled covariance and p channels, (ν−p−1)/ν · D² − p(1/n₁+1/n₀) is unbiased for d'²; its root
    is given, 0 if it is negative. The interval inverts the noncentral F distribution that D²
    follows. Both hold for normal channel outputs with one covariance, and for regions that are
    independent of each other: other noise in each, never the same region with and without.

    Args:
      present: HU, the lesion always at the same place in the region.
      absent: likewise without lesion.
      channels: from `dog_channels` or `gabor_channels`, of the regions' size.
      level: probability of the interval.

    Raises:
      ValueError: sizes differ, or there are no more than channels + 3 regions in all; at least
        ten times as many as channels are sensible.
    """
    v1, v0 = (channel_outputs(regions, channels) for regions in (present, absent))
    (n1, p), n0 = v1.shape, len(v0)
    plugin, squared = squared_distance(v1, v0)
    spread, freedom = 1 / n1 + 1 / n0, n1 + n0 - 2
    statistic = (freedom - p + 1) / (freedom * p) * plugin / spread
    ends = _noncentrality(statistic, p, freedom - p + 1, level)
    low, high = (float(np.sqrt(end * spread)) for end in ends)
    return Detectability(float(np.sqrt(max(squared, 0.0))), low, high, n1, n0)


def channel_outputs(regions: Regions, channels: Channels) -> Float[np.ndarray, "region channel"]:
    """What each channel answers to each region, HU; ValueError where their sizes differ."""
    regions = np.asarray(regions, np.float64)
    if regions.ndim != 3 or regions.shape[1:] != channels.shape[1:]:
        raise ValueError(f"regions {regions.shape} and channels {channels.shape} differ in size")
    return regions.reshape(len(regions), -1) @ channels.reshape(len(channels), -1).T


def squared_distance(
    present: Float[np.ndarray, "region channel"], absent: Float[np.ndarray, "region channel"]
) -> tuple[float, float]:
    """Plug-in and unbiased estimate of d'², of channel outputs; errors as `detectability`."""
    (n1, p), n0 = present.shape, len(absent)
    freedom = n1 + n0 - 2
    if min(n1, n0) < 2 or freedom - p - 1 <= 0:
        raise ValueError(f"{n1} and {n0} regions are too few for {p} channels")
    scatter = (n1 - 1) * np.cov(present.T) + (n0 - 1) * np.cov(absent.T)
    pooled = np.reshape(scatter, (p, p)) / freedom
    difference = present.mean(axis=0) - absent.mean(axis=0)
    try:
        plugin = float(difference @ linalg.solve(pooled, difference, assume_a="pos"))
    except linalg.LinAlgError:
        raise ValueError("the channels' outputs are linearly dependent or without noise") from None
    return plugin, (freedom - p - 1) / freedom * plugin - p * (1 / n1 + 1 / n0)


def known_detectability(
    signal: Float[np.ndarray, "y x"],
    covariance: Float[np.ndarray, "pixel pixel"],
    channels: Channels,
) -> float:
    """d' of the same observer where signal and noise are known: what `detectability` estimates.

    Args:
      signal: mean difference with and without lesion, HU.
      covariance: of the noise between the pixels (row by row), HU².
      channels: the observer's.
    """
    flat = channels.reshape(len(channels), -1)
    seen = flat @ np.ravel(signal)
    return float(np.sqrt(seen @ linalg.solve(flat @ covariance @ flat.T, seen, assume_a="pos")))


def two_alternative_accuracy(dprime: float) -> float:
    """Share of right answers where one of two regions holds the lesion: Φ(d'/√2), the AUC."""
    return float(stats.norm.cdf(dprime / np.sqrt(2)))


def _unit(channels: Channels) -> Channels:
    return channels / np.linalg.norm(channels, axis=(1, 2), keepdims=True)


def _noncentrality(
    statistic: float, numerator: int, denominator: int, level: float
) -> tuple[float, float]:
    """Ends of the interval for the noncentrality of a noncentral F variable that was seen once."""

    def end(probability: float) -> float:
        def excess(noncentrality: float) -> float:
            below = stats.ncf.cdf(statistic, numerator, denominator, noncentrality)
            return float(below) - probability

        # The distribution function falls with the noncentrality; under it at 0 the end is 0.
        if stats.f.cdf(statistic, numerator, denominator) <= probability:
            return 0.0
        top = max(numerator * statistic, 1.0)
        while excess(top) > 0:
            top *= 2
        return float(optimize.root_scalar(excess, bracket=(0.0, top)).root)

    return end((1 + level) / 2), end((1 - level) / 2)
