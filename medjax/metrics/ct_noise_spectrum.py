"""Noise power spectrum of CT images: not only how much noise there is but how coarse it is.

A restoration that halves the noise and leaves what remains in blotches has a small standard
deviation and a spectrum moved to low frequencies. After AAPM Task Group 233, "Performance
evaluation of computed tomography systems", 2019 (Samei et al., Medical Physics 2019), section on
noise: square regions of interest, a second-order surface taken out of each, squared discrete
Fourier transform scaled by pixel area over number of pixels, mean over regions, mean over angles.

On the host. Noise comes from a uniform region, or, on patients, from two images that differ in
noise alone (`difference_noise`), which anatomy does not disturb.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

Image = Shaped[np.ndarray, "*space"]


class NoiseSpectrum(NamedTuple):
    """Noise power over frequency.

    Attributes:
      frequency_y: cycles/mm along the rows of `power`, rising, 0 in the middle.
      frequency_x: likewise along its columns.
      power: HU² mm². Its sum times the cell's area in (cycles/mm)² is the variance in HU².
      regions: how many regions of interest were averaged.
    """

    frequency_y: Float[np.ndarray, " y"]
    frequency_x: Float[np.ndarray, " x"]
    power: Float[np.ndarray, "y x"]
    regions: int

    @property
    def cell(self) -> float:
        """Area of one cell of `power` in (cycles/mm)²."""
        steps = (f[1] - f[0] for f in (self.frequency_y, self.frequency_x))
        return float(np.prod(list(steps)))

    @property
    def variance(self) -> float:
        """Of the noise, HU²: the power's integral."""
        return float(self.power.sum() * self.cell)

    @property
    def radius(self) -> Float[np.ndarray, "y x"]:
        """Distance of each cell from frequency 0, in cycles/mm."""
        return np.hypot(self.frequency_y[:, None], self.frequency_x)


def difference_noise(one: Image, other: Image) -> Float[np.ndarray, "*space"]:
    """Noise of one image, from two that show the same and have independent noise.

    Their difference over √2, in HU: anatomy cancels, the variance is that of one image.

    Raises:
      ValueError: the shapes differ.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return (a - b) / np.sqrt(2)


def regions_of_interest(
    image: Image, mask: Bool[np.ndarray, "*space"], size: int = 32, *, filled: float = 1.0
) -> Float[np.ndarray, "region size size"]:
    """Square regions that lie in the mask, half a side apart, slice by slice.

    Args:
      image: one slice (y, x) or volume (z, y, x), HU.
      mask: where to measure, for example `metrics.ct.flat_tissue_mask` of the reference; for noise
        from a difference the body is enough.
      size: side in pixels; frequencies are 1 / (size · pixel) apart.
      filled: share of a region that must lie in the mask.

    Returns:
      As many regions as fit, perhaps none.

    Raises:
      ValueError: the shapes differ, are not 2-D or 3-D, or size is under 8.
    """
    image, mask = np.asarray(image, np.float64), np.asarray(mask, bool)
    if image.shape != mask.shape or image.ndim not in (2, 3):
        raise ValueError(f"need (y, x) or (z, y, x) and its mask: {image.shape}, {mask.shape}")
    if size < 8:
        raise ValueError(f"a region of {size} pixels is too small for a spectrum")
    found = [
        plane[y : y + size, x : x + size]
        for plane, inside in zip(
            *(a.reshape(-1, *a.shape[-2:]) for a in (image, mask)), strict=True
        )
        for y in range(0, plane.shape[0] - size + 1, size // 2)
        for x in range(0, plane.shape[1] - size + 1, size // 2)
        if inside[y : y + size, x : x + size].mean() >= filled
    ]
    return np.array(found).reshape(-1, size, size)


def noise_power_spectrum(
    regions: Shaped[np.ndarray, "region y x"],
    spacing: tuple[float, float],
    *,
    detrend: bool = True,
) -> NoiseSpectrum:
    """Noise power spectrum of regions of interest.

    Args:
      regions: HU.
      spacing: mm between rows and between columns.
      detrend: a second-order surface is fitted to each region and taken out, as TG-233 asks for
        where the object shades or the noise was not isolated; with it go noise coarser than the
        region and about 6 of its pixels' worth of variance. False takes out the mean alone.

    Raises:
      ValueError: there are no regions, they are not [region, y, x], or spacing is not positive.
    """
    stack = np.asarray(regions, np.float64)
    if stack.ndim != 3 or not stack.size:
        raise ValueError(f"need at least one region [region, y, x], got {stack.shape}")
    if min(spacing) <= 0:
        raise ValueError(f"spacing must be positive, got {spacing}")
    rest = stack - stack.mean(axis=(1, 2), keepdims=True)
    if detrend:
        rest = _without_surface(rest)
    shape = stack.shape[1:]
    scale = spacing[0] * spacing[1] / (shape[0] * shape[1])
    power = scale * np.square(np.abs(np.fft.fft2(rest))).mean(axis=0)
    frequency = [
        np.fft.fftshift(np.fft.fftfreq(n, step)) for n, step in zip(shape, spacing, strict=True)
    ]
    return NoiseSpectrum(frequency[0], frequency[1], np.fft.fftshift(power), len(stack))


def radial_average(
    spectrum: NoiseSpectrum,
) -> tuple[Float[np.ndarray, " frequency"], Float[np.ndarray, " frequency"]]:
    """The spectrum averaged over all directions, up to the Nyquist frequency.

    Returns:
      Mean frequency of each ring in cycles/mm (the first is 0 alone) and its mean power, HU² mm².
    """
    ring, kept = _rings(spectrum)
    count = np.bincount(ring[kept])
    frequency = np.bincount(ring[kept], spectrum.radius[kept]) / count
    return frequency, np.bincount(ring[kept], spectrum.power[kept]) / count


def mean_frequency(spectrum: NoiseSpectrum) -> float:
    """Where the noise power has its centre of mass over the 2-D plane, in cycles/mm.

    White noise has the highest; the lower, the coarser the texture. NaN without noise.
    """
    whole = spectrum.power.sum()
    return float((spectrum.radius * spectrum.power).sum() / whole) if whole > 0 else float("nan")


def peak_frequency(spectrum: NoiseSpectrum) -> float:
    """Frequency of the highest ring of the radial average, in cycles/mm."""
    frequency, power = radial_average(spectrum)
    return float(frequency[np.argmax(power)])


def spectrum_distance(
    spectrum: NoiseSpectrum, reference: NoiseSpectrum, *, texture: bool = True
) -> float:
    """Relative L1 distance of two noise power spectra, from their radial averages.

    ∫|A − B| 2πf df / ∫B 2πf df. With `texture` both are first divided by their own integral, so
    that only the noise's texture counts: 0 for equal texture, at most 2, where they share no
    frequency. Without, its amount counts too: half the variance of the same texture gives 0.5.

    Args:
      spectrum: of the image to judge.
      reference: of the image whose noise is taken as right, usually the full dose.
      texture: compare shapes alone.

    Returns:
      NaN where the reference (with `texture`, either of the two) has no noise.

    Raises:
      ValueError: the two were not taken at the same frequencies.
    """
    for name in ("frequency_y", "frequency_x"):
        a, b = getattr(spectrum, name), getattr(reference, name)
        if a.shape != b.shape or not np.allclose(a, b):
            raise ValueError("spectra of different region sizes or pixel sizes do not compare")
    ring, kept = _rings(reference)
    # A ring's mean power times its number of cells is the integral over it.
    a, b = (np.bincount(ring[kept], s.power[kept]) for s in (spectrum, reference))
    if texture:
        a, b = (x / x.sum() if x.sum() > 0 else np.full_like(x, np.nan) for x in (a, b))
    return float(np.abs(a - b).sum() / b.sum()) if b.sum() > 0 else float("nan")


def _rings(spectrum: NoiseSpectrum) -> tuple[np.ndarray, Bool[np.ndarray, "y x"]]:
    """Number of the ring each cell lies in, and whether it lies under the Nyquist frequency."""
    frequencies = (spectrum.frequency_y, spectrum.frequency_x)
    width = max(float(f[1] - f[0]) for f in frequencies)
    nyquist = min(float(-f[0]) for f in frequencies)
    return np.round(spectrum.radius / width).astype(int), spectrum.radius <= nyquist + 1e-9


def _without_surface(
    regions: Float[np.ndarray, "region y x"],
) -> Float[np.ndarray, "region y x"]:
    """What is left of each region after its best second-order surface."""
    y, x = (np.linspace(-1, 1, n) for n in regions.shape[1:])
    y, x = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
    terms, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    flat = regions.reshape(len(regions), -1)
    return (flat - (flat @ terms) @ terms.T).reshape(regions.shape)
