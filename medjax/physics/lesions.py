"""Lesions of known place, size, shape and contrast, put into real CT scans.

Clinical images do not say what should be found in them; an inserted lesion does. Each is drawn
finer than the pixels, blurred as the scanner would blur it, averaged over every voxel (partial
volume, across thick slices too) and added to the scan, after Solomon, Samei, "A generic framework
to simulate realistic lung, liver and renal pathologies in CT imaging", Phys. Med. Biol. 2014.
`medjax.physics.lesion_sites` finds where lesions may lie.

NumPy on the host: it happens once a scan, before the scan goes through the virtual scanner.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Shaped
from scipy import ndimage

Shape = Literal["sphere", "spiculated", "rod"]
Spacing = tuple[float, float, float]

# A soft (standard body) kernel's sharpness; lung kernels reach 0.5 to 0.6.
SOFT_KERNEL_MTF50 = 0.35
# Standard deviation in mm times this frequency in cycles/mm, where a Gaussian transfers one half.
_GAUSSIAN_MTF50 = math.sqrt(math.log(2) / 2) / math.pi
# Size of the samples that a voxel is averaged from, at most.
_FINE_MM = 0.25
# Half angle of a spicule at its root, in radians, and its least and greatest length beyond the
# core, in shares of the core's radius.
_SPICULE_ANGLE = 0.3
_SPICULE_LENGTH = (0.3, 0.8)


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One lesion; `dataclasses.asdict` gives a record fit for JSON.

    Attributes:
      centre_mm: z, y and x from the centre of the volume's first sample: index times spacing.
      diameter_mm: of the sphere or rod; of the round core of a spiculated lesion, whose spicules
        reach up to 1.8 times as far.
      contrast_hu: what is added to a voxel that the lesion fills; negative in a dark lesion.
      shape: "sphere"; "spiculated", a sphere with pointed rays in random directions; or "rod", a
        cylinder through all slices, which shows as the same disc in each.
      spicules: how many rays a spiculated lesion has.
      seed: of their directions and lengths.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    contrast_hu: float
    shape: Shape = "sphere"
    spicules: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise ValueError(f"unknown shape {self.shape!r}; there are {get_args(Shape)}")
        if not self.diameter_mm > 0:
            raise ValueError(f"diameter_mm must be positive, got {self.diameter_mm}")

    @property
    def radius_mm(self) -> float:
        """Half the diameter."""
        return self.diameter_mm / 2

    @property
    def reach_mm(self) -> float:
        """Farthest in-plane distance from the centre that the lesion can fill, before blur."""
        longest = 1 + _SPICULE_LENGTH[1] if self.shape == "spiculated" else 1.0
        return self.radius_mm * longest


def insert(
    volume: Shaped[np.ndarray, "z y x"],
    lesions: Iterable[Lesion],
    spacing: Spacing,
    mtf50: float | None = SOFT_KERNEL_MTF50,
) -> Float32[np.ndarray, "z y x"]:
    """A copy of the scan with the lesions in it.

    The scan's own noise and texture stay as they are; lesions that overlap add up.

    Args:
      volume: HU; a single slice is `image[None]`.
      lesions: what to insert.
      spacing: mm between samples along z, y and x. The slices are taken to be as thick as they
        lie apart; for a single slice the first number is its thickness.
      mtf50: sharpness of the scanner that made the scan, as the frequency in cycles/mm at which it
        transfers one half (Gaussian blur in plane). None: no blur but the pixels' own, for what
        goes through a virtual scanner whose sharpness is to be measured.

    Raises:
      ValueError: the volume is not 3-D, or spacing or mtf50 is not positive.
    """
    out = np.array(volume, dtype=np.float32)
    for lesion in lesions:
        place, share = coverage(lesion, out.shape, spacing, mtf50)
        out[place] += np.float32(lesion.contrast_hu) * share.astype(np.float32)
    return out


def coverage(
    lesion: Lesion,
    shape: tuple[int, ...],
    spacing: Spacing,
    mtf50: float | None = SOFT_KERNEL_MTF50,
) -> tuple[tuple[slice, ...], Float[np.ndarray, "z y x"]]:
    """The share of each voxel that the lesion fills, 0 to 1, and the box in which it is not 0.

    Args:
      lesion: what is drawn; its contrast does not matter.
      shape: of the volume. What lies outside is cut off.
      spacing: mm along z, y and x.
      mtf50: as in `insert`.

    Raises:
      ValueError: shape and spacing are not 3-D, or a length is not positive.
    """
    if len(shape) != 3 or len(spacing) != 3:
        raise ValueError(f"need z, y and x; got shape {shape}, spacing {spacing}")
    if min(spacing) <= 0 or (mtf50 is not None and mtf50 <= 0):
        raise ValueError(f"spacing {spacing} and mtf50 {mtf50} must be positive")
    sigma = 0.0 if mtf50 is None else _GAUSSIAN_MTF50 / mtf50
    tail = (0.0, 4 * sigma, 4 * sigma)
    boxes = [
        _box(centre, lesion.reach_mm + more, step)
        for centre, more, step in zip(lesion.centre_mm, tail, spacing, strict=True)
    ]
    rod = lesion.shape == "rod"
    # Nothing is blurred along z, so what lies beyond the volume need not be drawn.
    boxes[0] = _cut((0, shape[0]) if rod else boxes[0], shape[0])
    # A rod is the same at every depth: one plane of samples stands for all.
    drawn = [(0, 1), *boxes[1:]] if rod else boxes
    parts = [math.ceil(step / _FINE_MM) for step in spacing]
    parts[0] = 1 if rod else parts[0]
    fine = _voxel_means(_filled(lesion, drawn, parts, spacing), (parts[0], 1, 1))
    if sigma:
        samples = [sigma * n / step for n, step in zip(parts, spacing, strict=True)]
        fine = ndimage.gaussian_filter(fine, (0.0, *samples[1:]), mode="constant")
    share = _voxel_means(fine, (1, *parts[1:]))
    share = np.broadcast_to(share, (boxes[0][1] - boxes[0][0], *share.shape[1:]))
    kept = [_cut(box, size) for box, size in zip(boxes, shape, strict=True)]
    inner = [slice(a - first, b - first) for (a, b), (first, _) in zip(kept, boxes, strict=True)]
    return tuple(slice(a, b) for a, b in kept), share[tuple(inner)]


def _box(centre: float, reach: float, step: float) -> tuple[int, int]:
    """First voxel and one past the last that come within `reach` of the centre."""
    return math.floor((centre - reach) / step), math.ceil((centre + reach) / step) + 1


def _cut(box: tuple[int, int], size: int) -> tuple[int, int]:
    """What of the box lies in a volume of that size."""
    first = min(max(box[0], 0), size)
    return first, max(min(box[1], size), first)


def _filled(
    lesion: Lesion, boxes: list[tuple[int, int]], parts: list[int], spacing: Spacing
) -> Float[np.ndarray, "z y x"]:
    """How much of each sample the lesion fills, 0 to 1: `parts` samples a voxel of the boxes."""
    offsets = [
        _fine(first, stop, n, step) - centre
        for (first, stop), n, step, centre in zip(
            boxes, parts, spacing, lesion.centre_mm, strict=True
        )
    ]
    depth = _depth_in(lesion, *np.meshgrid(*offsets, indexing="ij", sparse=True))
    # A border that lies between two samples fills part of both.
    width = min(step / n for step, n in zip(spacing, parts, strict=True))
    return np.clip(0.5 + depth / width, 0, 1)


def _fine(first: int, stop: int, parts: int, step: float) -> Float[np.ndarray, " samples"]:
    """Centres in mm of `parts` equal samples in each of the voxels."""
    return (np.arange((stop - first) * parts) + 0.5) * (step / parts) + (first - 0.5) * step


def _voxel_means(
    fine: Shaped[np.ndarray, "z y x"], parts: tuple[int, ...]
) -> Float[np.ndarray, "a b c"]:
    shape = [m for n, part in zip(fine.shape, parts, strict=True) for m in (n // part, part)]
    return fine.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float64)


def _depth_in(
    lesion: Lesion, z: np.ndarray, y: np.ndarray, x: np.ndarray
) -> Float[np.ndarray, "z y x"]:
    """How far inside the lesion's surface each point lies, in mm; negative outside."""
    in_plane = y * y + x * x
    if lesion.shape == "rod":
        return lesion.radius_mm - np.sqrt(in_plane) + 0 * z
    distance = np.sqrt(z * z + in_plane)
    depth = lesion.radius_mm - distance
    if lesion.shape == "spiculated":
        around = (depth < 0) & (distance < lesion.reach_mm)
        points = [np.broadcast_to(axis, depth.shape)[around] for axis in (z, y, x)]
        directions, lengths = _spicules(lesion)
        angle = np.arccos(np.clip(directions @ points / distance[around], -1, 1))
        longest = (lengths[:, None] * (1 - angle / _SPICULE_ANGLE)).max(axis=0, initial=0.0)
        depth[around] += lesion.radius_mm * longest
    return depth


def _spicules(
    lesion: Lesion,
) -> tuple[Float[np.ndarray, "spicule 3"], Float[np.ndarray, " spicule"]]:
    """Unit vectors (z, y, x), even over the sphere, and lengths in shares of the radius."""
    rng = np.random.default_rng(lesion.seed)
    directions = rng.normal(size=(lesion.spicules, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, rng.uniform(*_SPICULE_LENGTH, size=lesion.spicules)
