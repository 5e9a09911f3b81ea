"""Slices of a real chest scan with everything in them that the clinical columns are read from.

Each probe is one slice in two versions that get the same noise. `marked` holds nodules in the
lungs, a rod of low contrast in soft tissue, one of high contrast in the lung, and every second of
the faint lesions; `plain` holds the other lesions and nothing else. One restoration of both thus
serves all measures (`benchmarks.ldct.clinical`), which matters where a method takes seconds a
slice.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from benchmarks.ldct.scanner import scan_slices
from medjax.metrics.ct import flat_tissue_mask
from medjax.metrics.ct_resolution import DISC_DIAMETER_MM, HIGH_CONTRAST_HU, LOW_CONTRAST_HU
from medjax.metrics.detection import Lesions
from medjax.physics.ct import DoseModel, Filter
from medjax.physics.lesion_sites import NoduleModel, lung_mask, random_nodules, random_sites
from medjax.physics.lesions import Lesion, Spacing, insert

# Soft tissue wide enough to hold a rod; its edges matter little, because they are subtracted.
_SOFT_TISSUE_HU = (-60.0, 160.0)
_SOFT_TISSUE_SLOPE = 30.0


@dataclasses.dataclass(frozen=True)
class ProbeDesign:
    """What is put into a slice; the rest is said where it is used.

    Attributes:
      nodules: how many, at most.
      nodule_model: which.
      lesions: faint lesions in soft tissue, present in one version and absent from the other.
      lesion_mm: their diameter.
      lesion_hu: their contrast.
      region: side in pixels of what the observer sees of one.
      rod_mm: diameter of the rods.
      rod_hu: contrast of the one in soft tissue and of the one in the lung.
      reach_mm: how far about a rod's border nothing else lies.
    """

    nodules: int = 6
    nodule_model: NoduleModel = NoduleModel()
    lesions: int = 12
    lesion_mm: float = 6.0
    lesion_hu: float = 40.0
    region: int = 24
    rod_mm: float = DISC_DIAMETER_MM
    rod_hu: tuple[float, float] = (LOW_CONTRAST_HU, HIGH_CONTRAST_HU)
    reach_mm: float = 6.0


class Probe(NamedTuple):
    """One slice in two versions, and what is where.

    Attributes:
      marked: HU, with nodules, rods and the lesions of `first`.
      plain: HU, with the lesions of `second`.
      lungs: where nodules are searched.
      body: where noise is measured.
      spacing: mm between rows and between columns.
      nodules: in `marked`.
      nodule_records: the same as they were inserted.
      rods_mm: y and x of the low and the high contrast rod; None where there was no room.
      first: row and column of the lesions in `marked`.
      second: row and column of the lesions in `plain`.
      repeat: number of this noise realisation of the slice; `plain` is the same in all.
    """

    marked: Float32[np.ndarray, "y x"]
    plain: Float32[np.ndarray, "y x"]
    lungs: Bool[np.ndarray, "y x"]
    body: Bool[np.ndarray, "y x"]
    spacing: tuple[float, float]
    nodules: Lesions
    nodule_records: tuple[Lesion, ...]
    rods_mm: tuple[tuple[float, float] | None, tuple[float, float] | None]
    first: Int[np.ndarray, "lesion 2"]
    second: Int[np.ndarray, "lesion 2"]
    repeat: int


def make_probes(
    image: Shaped[np.ndarray, "y x"],
    spacing: Spacing,
    seed: int,
    repeats: int,
    design: ProbeDesign | None = None,
    lungs: Bool[np.ndarray, "y x"] | None = None,
) -> list[Probe]:
    """Probes of one chest slice: lesions and rods stay where they are, nodules are drawn anew.

    Args:
      image: HU, the best there is of this slice.
      spacing: slice thickness and mm between rows and columns.
      seed: of all places, sizes and shapes.
      repeats: probes wanted; at least two for the noise spectrum, an even number for fairness.
      design: what to put in.
      lungs: from `lung_mask`, for a crop; None: found here.
    """
    design = ProbeDesign() if design is None else design
    plane = np.asarray(image, np.float32)[None]
    inside = lung_mask(plane, spacing) if lungs is None else np.asarray(lungs)[None]
    soft = flat_tissue_mask(
        plane, hu_range=_SOFT_TISSUE_HU, max_slope=_SOFT_TISSUE_SLOPE, smoothing=1.0, margin=1
    )
    room = design.rod_mm / 2 + design.reach_mm + max(spacing[1:])
    rods = [
        random_sites(_off_border(where, spacing, room), spacing, [room], seed + i)[0]
        for i, where in enumerate((soft, inside))
    ]
    # What the observer sees of a lesion must not reach into the rod; a nodule only lies beside.
    corner = 2**0.5 * design.region / 2 * max(spacing[1:])
    free = soft & ~_near(soft.shape, rods[0], design.rod_mm / 2 + corner, spacing)
    searched = inside & ~_near(inside.shape, rods[1], room, spacing)
    sites = _lesion_sites(free, spacing, seed + 2, design)
    lesions = [Lesion(site, design.lesion_mm, design.lesion_hu) for site in sites]
    pixels = np.round(np.array([site[1:] for site in sites]).reshape(-1, 2) / spacing[1:])
    plain = insert(plane, lesions[1::2], spacing)
    posts = [
        Lesion(rod, design.rod_mm, hu, "rod")
        for rod, hu in zip(rods, design.rod_hu, strict=True)
        if rod is not None
    ]
    standing = insert(insert(plane, lesions[::2], spacing), posts, spacing, None)
    probes = []
    for repeat in range(repeats):
        records = random_nodules(
            plane,
            spacing,
            design.nodules,
            seed + 1000 * (repeat + 1),
            design.nodule_model,
            searched,
        )
        probes.append(
            Probe(
                insert(standing, records, spacing)[0],
                plain[0],
                inside[0],
                plane[0] > -500,
                spacing[1:],
                extents(records),
                records,
                (rods[0] and rods[0][1:], rods[1] and rods[1][1:]),
                pixels[::2].astype(int),
                pixels[1::2].astype(int),
                repeat,
            )
        )
    return probes


def extents(records: Sequence[Lesion]) -> Lesions:
    """Where inserted nodules are to be found in their slice, in the detector's terms."""
    centres = np.array([record.centre_mm[1:] for record in records]).reshape(-1, 2)
    return Lesions(centres, np.array([record.radius_mm for record in records]))


def scan_probes(
    probes: Sequence[Probe],
    dose: float,
    seed: int,
    *,
    model: DoseModel | None = None,
    views: int = 720,
    filter: Filter = "hann",
) -> tuple[Float32[np.ndarray, "probe y x"], Float32[np.ndarray, "probe y x"]]:
    """Marked and plain versions scanned at a dose, HU; square slices.

    Both versions of a probe get the same noise: it is drawn as normal numbers that are scaled, not
    as Poisson counts, which would not follow a small change of the object smoothly.
    """
    marked, plain = (
        scan_slices(
            [getattr(probe, name) for probe in probes],
            probes[0].spacing[0],
            dose,
            seed,
            model=model,
            views=views,
            filter=filter,
        )
        for name in ("marked", "plain")
    )
    return marked, plain


def _lesion_sites(
    free: Bool[np.ndarray, "1 y x"], spacing: Spacing, seed: int, design: ProbeDesign
) -> list[tuple[float, float, float]]:
    """Voxel centres, an even number, each other's region out of reach of the lesion."""
    region_mm = design.region / 2 * max(spacing[1:])
    sites = random_sites(
        _off_border(free, spacing, region_mm + max(spacing[1:])),
        spacing,
        [design.lesion_mm / 2 + 1.0] * design.lesions,
        seed,
        separation_mm=2**0.5 * region_mm + design.lesion_mm / 2,
    )
    found = [site for site in sites if site is not None]
    return found[: len(found) // 2 * 2]


def _off_border(
    mask: Bool[np.ndarray, "1 y x"], spacing: Spacing, distance_mm: float
) -> Bool[np.ndarray, "1 y x"]:
    """The mask without what lies nearer than that to the image's border."""
    rows, columns = (int(np.ceil(distance_mm / step)) for step in spacing[1:])
    kept = np.zeros_like(mask)
    inner = (slice(None), slice(rows, -rows), slice(columns, -columns))
    kept[inner] = mask[inner]
    return kept


def _near(
    shape: tuple[int, ...],
    site: tuple[float, float, float] | None,
    distance_mm: float,
    spacing: Spacing,
) -> Bool[np.ndarray, "1 y x"]:
    if site is None:
        return np.zeros(shape, bool)
    y, x = (
        np.arange(n) * s - at for n, s, at in zip(shape[1:], spacing[1:], site[1:], strict=True)
    )
    return (np.hypot(y[:, None], x) < distance_mm)[None]
