"""Scan geometries of a CT slice: where every ray runs.

Coordinates have their origin at the isocentre, which is the centre of the image: x grows with the
column, y with the row. A view at angle θ has its detector axis along e = (cos θ, sin θ) and its
central ray along n = (−sin θ, cos θ); detector d lies at (d − (detectors−1)/2)·detector_mm along e.
(scikit-image's `radon` turns the other way: its angle is −θ.)
"""

import math
from dataclasses import dataclass

import numpy as np

# A little more than the longest line across the image, in steps that keep FFT lengths friendly.
_DETECTOR_STEP = 16


@dataclass(frozen=True)
class PixelGeometry:
    """A geometry with every length in pixels: what the compiled code depends on.

    Two scans that differ in pixel size alone share it, and with it the compiled projector.
    `source` is the distance from source to isocentre, None for a parallel beam.
    """

    size: int
    views: int
    detectors: int
    spacing: float
    source: float | None = None

    def angles(self) -> np.ndarray:
        """View angles in radians: half a turn for a parallel beam, a full one for a fan."""
        turn = math.pi if self.source is None else 2 * math.pi
        return np.arange(self.views) * (turn / self.views)

    def offsets(self) -> np.ndarray:
        """Detector positions along the detector axis at the isocentre, in pixels."""
        return (np.arange(self.detectors) - (self.detectors - 1) / 2) * self.spacing


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays over half a turn; lengths in mm. Hashable: a static argument under jit."""

    image_size: int
    pixel_mm: float
    views: int
    detectors: int
    detector_mm: float

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def for_image(cls, image_size: int, pixel_mm: float, views: int = 720) -> "ParallelBeam":
        """One detector a pixel, wide enough for the image's diagonal."""
        width = math.sqrt(2) * image_size + 2
        return cls(image_size, pixel_mm, views, _round_up(width), pixel_mm)

    def in_pixels(self) -> PixelGeometry:
        return PixelGeometry(
            self.image_size, self.views, self.detectors, self.detector_mm / self.pixel_mm
        )

    def ray_offsets_mm(self) -> np.ndarray:
        """Distance of each detector's ray from the isocentre, signed, in mm."""
        return self.in_pixels().offsets() * self.pixel_mm


@dataclass(frozen=True)
class FanBeam:
    """A fan on a flat detector over a full turn; lengths in mm.

    `detector_mm` is the detector spacing scaled to the isocentre, `source_mm` the distance from
    source to isocentre.
    """

    image_size: int
    pixel_mm: float
    views: int
    detectors: int
    detector_mm: float
    source_mm: float

    def __post_init__(self) -> None:
        _check(self)
        # The ring of zero pixels that frames the image must stay in front of the source too.
        if self.source_mm <= (self.image_size / 2 + 2) * math.sqrt(2) * self.pixel_mm:
            raise ValueError(f"source_mm={self.source_mm} lies inside the image's circle")

    @classmethod
    def for_image(
        cls, image_size: int, pixel_mm: float, views: int = 720, source_mm: float = 595.0
    ) -> "FanBeam":
        """Detectors one pixel apart at the isocentre, wide enough for the image's circle."""
        radius = (image_size / math.sqrt(2) + 1) * pixel_mm
        if radius >= source_mm:
            raise ValueError(f"source_mm={source_mm} lies inside the image's circle")
        half = source_mm * math.tan(math.asin(radius / source_mm))
        return cls(image_size, pixel_mm, views, _round_up(2 * half / pixel_mm), pixel_mm, source_mm)

    def in_pixels(self) -> PixelGeometry:
        return PixelGeometry(
            self.image_size,
            self.views,
            self.detectors,
            self.detector_mm / self.pixel_mm,
            self.source_mm / self.pixel_mm,
        )

    def ray_offsets_mm(self) -> np.ndarray:
        """Distance of each detector's ray from the isocentre, signed, in mm."""
        s = self.in_pixels().offsets() * self.pixel_mm
        return s * self.source_mm / np.hypot(self.source_mm, s)


Geometry = ParallelBeam | FanBeam


def _round_up(width: float) -> int:
    return math.ceil(width / _DETECTOR_STEP) * _DETECTOR_STEP


def _check(g: ParallelBeam | FanBeam) -> None:
    if min(g.image_size, g.views, g.detectors) < 1:
        raise ValueError(f"image_size, views and detectors must be at least 1: {g}")
    if min(g.pixel_mm, g.detector_mm) <= 0:
        raise ValueError(f"pixel_mm and detector_mm must be positive: {g}")
