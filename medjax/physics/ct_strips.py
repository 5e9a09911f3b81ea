"""The rays of a parallel-beam scan that pass through a square region: a strip of every view.

A strip is cut around where the region's centre falls on the detector. In strips a region is a scan
of its own: what lies in its middle stays in the middle of all views instead of running along a
sine, and the noise of its image is the filtered backprojection of its strips alone, because the
ramp filter's kernel falls as the square of the distance (within 0.1 % of the noise with `MARGIN`
detectors more than the diagonal). That lets a network work in both domains on patches. Values of
the image are not reconstructed so: the strips hold all that lies along the rays.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float, Float32
from scipy import fft

from medjax.physics.ct_geometry import ParallelBeam

MARGIN = 18
"""Detectors on each side of a region's diagonal."""
_WIDTH_STEP = 16


def region_of(whole: ParallelBeam, side: int) -> ParallelBeam:
    """The geometry of the strips through a region of `side` pixels a side of a whole scan."""
    width = math.sqrt(2) * side / whole.in_pixels().spacing + 2 * MARGIN
    return dataclasses.replace(
        whole, image_size=side, detectors=math.ceil(width / _WIDTH_STEP) * _WIDTH_STEP
    )


def spectra(
    whole: ParallelBeam, region: ParallelBeam, sinogram: Float32[np.ndarray, "views detectors"]
) -> Complex64[np.ndarray, "views frequencies"]:
    """What `strips` cuts from, computed once for all regions of one size."""
    padded = fft.rfft(np.asarray(sinogram, np.float32), _length(whole, region), axis=-1)
    return np.asarray(padded, np.complex64)


def strips(
    whole: ParallelBeam,
    region: ParallelBeam,
    spectra: Complex64[np.ndarray, "views frequencies"],
    centre: tuple[float, float],
) -> Float32[np.ndarray, "views region_detectors"]:
    """The strips of the region whose centre lies at row, column `centre`, 0, 0 being the image's.

    Detectors are interpolated by a shift of the spectrum, which leaves white noise white. Rays
    beside the detector are 0.
    """
    first, length = _first(whole, region, centre), _length(whole, region)
    below = np.floor(first)
    shift = _powers(2 * np.pi * (first - below) / length, spectra.shape[-1])
    rows = np.asarray(fft.irfft(spectra * shift, length, axis=-1), np.float32)
    columns = below.astype(np.int64)[:, None] + np.arange(region.detectors)
    return np.take_along_axis(rows, columns % length, axis=-1)


def nearest(
    whole: ParallelBeam,
    region: ParallelBeam,
    values: Float32[np.ndarray, "views detectors"],
    centre: tuple[float, float],
) -> Float32[np.ndarray, "views region_detectors"]:
    """As `strips`, of what changes slowly along the views and must not ring, such as noise levels.

    Of each ray that of the nearest detector.
    """
    first = np.round(_first(whole, region, centre)).astype(np.int64)
    columns = first[:, None] + np.arange(region.detectors)
    return np.take_along_axis(values, np.clip(columns, 0, whole.detectors - 1), axis=-1)


def strip_offsets(
    whole: ParallelBeam, region: ParallelBeam, centre: tuple[float, float]
) -> Float32[np.ndarray, "views region_detectors"]:
    """Distance of each of the strips' rays from the isocentre, signed, in pixels."""
    return (_middles(whole, centre)[:, None] + region.in_pixels().offsets()).astype(np.float32)


def _powers(
    angle: Float[np.ndarray, " views"], count: int
) -> Complex64[np.ndarray, "views powers"]:
    """exp(i k angle), k from 0; of products of few exponentials, which cost most of a strip."""
    few = math.isqrt(count)
    low = np.exp(1j * angle[:, None] * np.arange(few)).astype(np.complex64)
    high = np.exp(1j * angle[:, None] * (few * np.arange(-(-count // few)))).astype(np.complex64)
    return (high[:, :, None] * low[:, None, :]).reshape(len(angle), -1)[:, :count]


def _length(whole: ParallelBeam, region: ParallelBeam) -> int:
    """Of padded views: a strip that reaches beyond one end must not see the other."""
    return int(fft.next_fast_len(whole.detectors + region.detectors + 1, real=True))  # pyright: ignore


def _middles(whole: ParallelBeam, centre: tuple[float, float]) -> Float[np.ndarray, " views"]:
    """Where the region's centre falls in each view, in pixels."""
    angle, (row, column) = whole.in_pixels().angles(), centre
    return column * np.cos(angle) + row * np.sin(angle)


def _first(
    whole: ParallelBeam, region: ParallelBeam, centre: tuple[float, float]
) -> Float[np.ndarray, " views"]:
    """The detector, in fractions, that is a strip's first."""
    spacing = whole.in_pixels().spacing
    return _middles(whole, centre) / spacing + (whole.detectors - region.detectors) / 2


def mirrored(
    strips: Float[Array, "batch views detectors channel"], axis: int
) -> Float[Array, "batch views detectors channel"]:
    """The strips of regions mirrored along their rows' axis (0) or their columns' (1)."""
    # Turned back by its angle, a view of the mirror image is one of the image; the view at 0 is
    # the one at half a turn, which looks the other way.
    turned = jnp.concatenate([strips[:, :1, ::-1], strips[:, :0:-1]], axis=1)
    return turned[:, :, ::-1] if axis == 0 else turned
