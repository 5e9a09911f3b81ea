"""Where lesions may lie: lung parenchyma away from vessels and wall, flat tissue away from edges.

NumPy on the host. The same scan, settings and seed give the same lesions.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage

from medjax.physics.lesions import Lesion, Shape, Spacing

# Halfway between lung and soft tissue, the usual border of lung segmentation.
LUNG_BELOW = -500.0
# Aerated lung is -950 to -700 HU; vessels, fissures and walls are denser.
PARENCHYMA_BELOW = -700.0
# Smaller dark areas of a slice are trachea, oesophagus or bowel gas.
SMALLEST_LUNG_MM2 = 1500.0


@dataclasses.dataclass(frozen=True)
class NoduleModel:
    """What nodules are drawn: sizes of the Fleischner Society's guideline (MacMahon et al.,
    Radiology 2017) that ask for follow-up, solid ones of soft tissue, and ground glass.

    Attributes:
      diameter_mm: least and greatest diameter of the core, uniform between.
      solid_hu: range of the HU that a solid nodule has inside.
      ground_glass_hu: likewise of a ground-glass nodule.
      ground_glass: share of the nodules that are ground glass.
      spiculated: share of the solid nodules that have spicules; the others are spheres.
      clearance_mm: least distance from the nodule's farthest point to vessel, fissure or wall.
      separation_mm: least distance between two nodules' centres.
    """

    diameter_mm: tuple[float, float] = (4.0, 10.0)
    solid_hu: tuple[float, float] = (-50.0, 100.0)
    ground_glass_hu: tuple[float, float] = (-700.0, -500.0)
    ground_glass: float = 0.3
    spiculated: float = 0.5
    clearance_mm: float = 1.0
    separation_mm: float = 25.0


def lung_mask(
    volume: Shaped[np.ndarray, "z y x"], spacing: Spacing, *, smoothing_mm: float = 1.0
) -> Bool[np.ndarray, "z y x"]:
    """The lungs slice by slice, with the vessels and nodules inside them.

    Air that the body encloses in a slice, without small areas (airways, bowel gas), holes filled.
    What touches the wall and is as dense as the wall is taken for wall.

    Args:
      volume: HU; a single slice is `image[None]`.
      spacing: mm along z, y and x.
      smoothing_mm: standard deviation of the Gaussian against noise, in plane.
    """
    smooth = _smooth(volume, spacing, smoothing_mm)
    return np.stack([_lungs(plane < LUNG_BELOW, spacing[1] * spacing[2]) for plane in smooth])


def parenchyma_mask(
    volume: Shaped[np.ndarray, "z y x"],
    spacing: Spacing,
    lungs: Bool[np.ndarray, "z y x"] | None = None,
    *,
    smoothing_mm: float = 1.0,
) -> Bool[np.ndarray, "z y x"]:
    """The lungs without vessels, fissures and whatever else is denser than aerated lung.

    Arguments as `lung_mask`; `lungs` is its answer, where it is known already.
    """
    if lungs is None:
        lungs = lung_mask(volume, spacing, smoothing_mm=smoothing_mm)
    return lungs & (_smooth(volume, spacing, smoothing_mm) < PARENCHYMA_BELOW)


def random_sites(
    mask: Bool[np.ndarray, "z y x"],
    spacing: Spacing,
    clearances_mm: Sequence[float],
    seed: int,
    *,
    separation_mm: float = 0.0,
) -> list[tuple[float, float, float] | None]:
    """Random voxel centres deep enough inside the mask, one for each clearance asked for.

    Args:
      mask: where the whole lesion must lie. The volume's own border is not an edge of the mask.
      spacing: mm along z, y and x.
      clearances_mm: least distance from each site to the nearest voxel outside the mask.
      seed: of the choice.
      separation_mm: least distance between two sites.

    Returns:
      z, y and x in mm from the centre of the first sample; None where the mask has no room left.
    """
    rng = np.random.default_rng(seed)
    step = np.array(spacing)
    if mask.all():
        depth = np.full(mask.shape, np.inf)
    else:
        depth = np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing))
    sites: list[tuple[float, float, float] | None] = []
    for clearance in clearances_mm:
        free = np.argwhere(mask & (depth >= clearance)) * step
        for taken in sites:
            if taken is not None:
                free = free[np.linalg.norm(free - taken, axis=1) >= separation_mm]
        if len(free):
            z, y, x = free[rng.integers(len(free))].tolist()
            sites.append((z, y, x))
        else:
            sites.append(None)
    return sites


def random_nodules(
    volume: Shaped[np.ndarray, "z y x"],
    spacing: Spacing,
    count: int,
    seed: int,
    model: NoduleModel | None = None,
    lungs: Bool[np.ndarray, "z y x"] | None = None,
) -> tuple[Lesion, ...]:
    """Nodules for real lungs, to be inserted with `medjax.physics.lesions.insert`.

    Each is centred on a voxel (moved by less than half a voxel in plane) where aerated lung without
    vessel or wall has room for it. Its contrast is its HU less the median of the lung that it
    covers, so that it ends up at the HU drawn.

    Args:
      volume: HU; a single slice is `image[None]`, whose neighbours then cannot be looked at.
      spacing: mm along z, y and x.
      count: nodules wanted.
      seed: of places, sizes and shapes.
      model: what nodules to draw.
      lungs: from `lung_mask`; needed for a crop, whose lungs may reach its border and then look
        like the air outside. None: found here.

    Returns:
      At most `count` nodules: a nodule for which the lungs have no room is left out.
    """
    model = NoduleModel() if model is None else model
    rng = np.random.default_rng((seed, 0))
    mask = parenchyma_mask(volume, spacing, lungs)
    drawn = [_draw(rng, model) for _ in range(count)]
    clearances = [lesion.reach_mm + model.clearance_mm for lesion, _ in drawn]
    sites = random_sites(mask, spacing, clearances, _child(seed), separation_mm=model.separation_mm)
    placed = []
    for (lesion, hu), site in zip(drawn, sites, strict=True):
        shift = rng.uniform(-0.5, 0.5, size=2) * spacing[1:]
        if site is not None:
            z, y, x = site
            background = _median_around(volume, site, lesion.reach_mm, spacing)
            placed.append(
                dataclasses.replace(
                    lesion,
                    centre_mm=(z, y + float(shift[0]), x + float(shift[1])),
                    contrast_hu=hu - background,
                )
            )
    return tuple(placed)


def _draw(rng: np.random.Generator, model: NoduleModel) -> tuple[Lesion, float]:
    """A nodule without a place yet, and its HU."""
    diameter = float(rng.uniform(*model.diameter_mm))
    glass = rng.random() < model.ground_glass
    spiculated = rng.random() < model.spiculated
    hu = float(rng.uniform(*(model.ground_glass_hu if glass else model.solid_hu)))
    shape: Shape = "spiculated" if spiculated and not glass else "sphere"
    seed = int(rng.integers(2**31))
    return Lesion((0.0, 0.0, 0.0), diameter, 0.0, shape, seed=seed), hu


def _child(seed: int) -> int:
    return int(np.random.default_rng((seed, 1)).integers(2**31))


def _median_around(
    volume: Shaped[np.ndarray, "z y x"],
    site: tuple[float, float, float],
    radius_mm: float,
    spacing: Spacing,
) -> float:
    """Median HU within the radius of the site, in its own slice."""
    z, y, x = (round(at / step) for at, step in zip(site, spacing, strict=True))
    reach = [math.ceil(radius_mm / step) for step in spacing[1:]]
    rows, columns = (
        np.arange(max(at - n, 0), min(at + n + 1, size))
        for at, n, size in zip((y, x), reach, volume.shape[1:], strict=True)
    )
    near = np.hypot((rows[:, None] - y) * spacing[1], (columns - x) * spacing[2]) <= radius_mm
    return float(np.median(volume[z, rows[:, None], columns][near]))


def _lungs(air: Bool[np.ndarray, "y x"], pixel_mm2: float) -> Bool[np.ndarray, "y x"]:
    regions = np.zeros(air.shape, np.int32)
    ndimage.label(air, output=regions)
    kept = np.bincount(regions.ravel()) * pixel_mm2 >= SMALLEST_LUNG_MM2
    kept[0] = False
    for border in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        kept[border] = False
    return np.asarray(ndimage.binary_fill_holes(kept[regions]))


def _smooth(
    volume: Shaped[np.ndarray, "z y x"], spacing: Spacing, sigma_mm: float
) -> Float[np.ndarray, "z y x"]:
    sigma = (0.0, sigma_mm / spacing[1], sigma_mm / spacing[2])
    return ndimage.gaussian_filter(np.asarray(volume, np.float32), sigma, mode="nearest")
