"""The chest scan that is judged, and what it is judged with: probes, references, the detector."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from benchmarks.ldct.detector import Detector, train_detector
from benchmarks.ldct.probes import Probe, make_probes
from benchmarks.ldct.scanner import noise_free, scan_slices, scan_with_rays
from medjax.data.convert import fill_invalid
from medjax.data.recipes import DATA_VARIABLE, data_folder
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.physics.lesions import Spacing
from medjax.tasks.base import Case
from medjax.tasks.ldct import BODY_ABOVE, LowDoseCT

FOLDER, FILE = "ct_chest_kernel_pairs", "Lung_Dx-A0001_B.nii.gz"
# Of the slices, from the first on: the detector learns on these and on no others.
LEARNT_SHARE = 14 / 30
# Between the slices that the detector learned on and those judged, so that no nodule-like vessel
# is in both.
GAP = 2
# Doses share their noise, so that they differ in nothing else; the detector's is another.
SCAN_SEED, LEARN_SEED, PLACE_SEED = 3_000_000, 3_100_000, 3_200_000


class Chest(NamedTuple):
    """A chest scan in HU, [z, y, x] with square slices, and its spacing in mm."""

    volume: Float32[np.ndarray, "z y x"]
    spacing: Spacing

    @property
    def learnt(self) -> int:
        """How many slices, from the first on, belong to the detector."""
        return max(1, round(len(self.volume) * LEARNT_SHARE))


class Given(NamedTuple):
    """What a method is given of one scanned slice; `case` holds the true noise level too."""

    case: Case
    rays: dict[str, np.ndarray]


class Scene(NamedTuple):
    """All probes scanned at one dose, in the order of the probes."""

    dose: float
    marked: list[Given]
    plain: list[Given]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What stays the same for all doses and methods.

    Attributes:
      task: the scanner, and the window of PSNR, SSIM and VIF.
      probes: slice after slice, the repeats of a slice one after the other.
      slices: the slice that each probe is of.
      references: of the plain versions, the scanner without noise.
      detector: of nodules.
    """

    task: LowDoseCT
    probes: Sequence[Probe]
    slices: Sequence[int]
    references: Sequence[Float32[np.ndarray, "y x"]]
    detector: Detector


def chest_scan() -> Chest:
    """The soft kernel of the scan in MEDJAX_DATA's ct_chest_kernel_pairs.

    Raises:
      UserError: it is not there, or its slices are not square.
    """
    try:
        file = data_folder(FOLDER, FOLDER, 3) / FILE
    except UserError:
        file = None
    if file is None or not file.is_file():
        raise UserError(
            f"{FOLDER}/{FILE}: the chest scan that is judged is not there; let {DATA_VARIABLE} "
            "name the folder that holds it"
        )
    scan = read_scan(file, "CT")
    if scan.spacing is None or len(set(scan.array.shape[1:])) != 1:
        raise UserError(f"{file.name}: square slices with a known pixel size are needed")
    return Chest(fill_invalid(scan), (scan.spacing[0], scan.spacing[1], scan.spacing[2]))


def chosen(chest: Chest, wanted: Sequence[int] | None, count: int = 5) -> list[int]:
    """The slices to judge: those wanted, or some spread over what the detector has not seen.

    Raises:
      UserError: a slice is not there, or belongs to the detector.
    """
    first, last = chest.learnt + GAP, len(chest.volume) - 1
    if first > last:
        raise UserError(f"{FILE}: {last + 1} slices are too few to learn on some and judge others")
    if wanted is None:
        return sorted({round(z) for z in np.linspace(first, last, count)})
    for z in wanted:
        if not first <= z <= last:
            raise UserError(
                f"--slices {z}: give slices {first} to {last}; others are the detector's"
            )
    return list(wanted)


def set_up(chest: Chest, task: LowDoseCT, slices: Sequence[int], repeats: int) -> Stage:
    """Puts the probes into the slices and trains the detector on the others, at full dose.

    Args:
      chest: the scan.
      task: its views, filter, photons and window.
      slices: to judge, from `chosen`.
      repeats: realisations of the noise of each; an even number.
    """
    pixel, scanner = chest.spacing[1], {"views": task.views, "filter": task.filter}
    learnt = list(chest.volume[: chest.learnt])
    full = scan_slices(learnt, pixel, 1.0, LEARN_SEED, model=task.model, **scanner)
    detector = train_detector(learnt, list(full), chest.spacing, LEARN_SEED, filter=task.filter)
    probes = [make_probes(chest.volume[z], chest.spacing, PLACE_SEED + z, repeats) for z in slices]
    references = [noise_free(own[0].plain, pixel, **scanner) for own in probes]
    return Stage(
        task,
        [probe for own in probes for probe in own],
        [z for z in slices for _ in range(repeats)],
        [reference for reference in references for _ in range(repeats)],
        detector,
    )


def scanned(stage: Stage, dose: float) -> Scene:
    """Marked and plain versions of all probes at a dose, with the same noise in both."""
    task, pixel = stage.task, stage.probes[0].spacing[0]
    versions = {}
    for version in ("marked", "plain"):
        scans = scan_with_rays(
            [getattr(probe, version) for probe in stage.probes],
            pixel,
            dose,
            SCAN_SEED,
            model=task.model,
            views=task.views,
            filter=task.filter,
        )
        versions[version] = list(scans)
    noise = [
        float(np.std((scan.image - reference)[reference > BODY_ABOVE]))
        for scan, reference in zip(versions["plain"], stage.references, strict=True)
    ]

    def given(version: str) -> list[Given]:
        return [
            Given(
                Case(f"slice {z}", scan.image, reference, sigma, (pixel, pixel)),
                {
                    "image": scan.image,
                    "sinogram": scan.sinogram,
                    "level": scan.level,
                    "pixel_mm": np.asarray(pixel, np.float32),
                },
            )
            for z, scan, reference, sigma in zip(
                stage.slices, versions[version], stage.references, noise, strict=True
            )
        ]

    return Scene(dose, given("marked"), given("plain"))
