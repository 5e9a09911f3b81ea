"""From raw CT projections to a volume in HU, which a run may restore in both domains."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from medjax.errors import UserError
from medjax.io.projections import Projections
from medjax.physics.ct import MU_WATER, Filter, Geometry, ParallelBeam, blind_ray_noise, fbp
from medjax.physics.ct_fans import field_mm
from medjax.physics.ct_rebin import attenuation_to_hu, geometry_for, rebin
from medjax.scan import Scan
from medjax.tasks.base import Task
from medjax.tasks.ldct_projections import LowDoseProjections
from medjax.trained import Trained

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
# The manual's x, y and z as signs of the patient's right, anterior and superior.
_TOWARDS = {"HFS": (-1, 1, 1), "HFP": (1, -1, 1), "FFS": (1, 1, -1), "FFP": (-1, -1, -1)}


@dataclasses.dataclass(frozen=True)
class Planes:
    """The volume that is wanted; lengths in mm.

    Attributes:
      size: pixels a side of a slice.
      pixel_mm: of the slices; None: the scan's field of view fills them.
      every_mm: between slices.
      thickness_mm: of each; 0 is as thin as the detector's rows.
      z_mm: first and last, in the files' coordinate; None: all that was measured.
    """

    size: int = 512
    pixel_mm: float | None = None
    every_mm: float = 3.0
    thickness_mm: float = 3.0
    z_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.size < 8 or self.every_mm <= 0 or self.thickness_mm < 0:
            raise UserError(
                f"planes of {self.size} pixels, {self.every_mm:g} mm apart and "
                f"{self.thickness_mm:g} mm thick: give 8 pixels or more, a distance above 0 and a "
                "thickness of 0 or more"
            )
        if self.pixel_mm is not None and not self.pixel_mm > 0:
            raise UserError(f"a pixel of {self.pixel_mm:g} mm: must be above 0")
        if self.z_mm is not None and not self.z_mm[0] <= self.z_mm[1]:
            raise UserError(f"planes from {self.z_mm[0]:g} to {self.z_mm[1]:g} mm: must rise")


def reconstruct(
    projections: Projections,
    planes: Planes,
    *,
    filter: Filter = "hann",
    run: Trained | None = None,
    progress: Progress = lambda done, of: None,
) -> Scan:
    """A volume in HU by single-slice rebinning and filtered backprojection (`physics.ct_rebin`).

    Planes at the scan's ends that were not measured all around are left out and named in the log.

    Args:
      projections: from `io.dicom_projections.read_projections`.
      planes: what is wanted.
      filter: of the reconstruction; with a run its task's.
      run: restores each slice: with its projections where the run's network takes them, which are
        then rebinned to the views it learned from, else the image alone.
      progress: told after each slice: done, of.

    Raises:
      UserError: the files do not say what water attenuates, no plane was measured all around, or
        the run restores something else than low-dose CT.
    """
    if projections.mu_water is None:
        raise UserError(
            f"{projections.source}: the files do not say what water attenuates, so there are no "
            "HU; this scan cannot be reconstructed here"
        )
    pixel = planes.pixel_mm or 2 * field_mm(projections) / planes.size
    geometry = _geometry(projections, planes.size, pixel, run)
    places = _places(projections, planes)
    slices: dict[float, Float32[np.ndarray, "y x"]] = {}
    problems: list[UserError] = []
    for number, z in enumerate(places, 1):
        try:
            rays = rebin(projections, z, geometry, thickness_mm=planes.thickness_mm)
        except UserError as error:
            problems.append(error)
        else:
            slices[z] = _slice(rays, geometry, projections.mu_water, filter, run)
        progress(number, len(places))
    if not slices:
        raise problems[-1]
    if problems:
        _log.warning(
            "%d of %d planes were not measured all around and are left out; the volume goes from "
            "%.1f to %.1f mm",
            len(problems),
            len(places),
            min(slices),
            max(slices),
        )
    return Scan(
        np.stack(list(slices.values())),
        "zyx",
        (planes.every_mm, pixel, pixel),
        _affine(projections, min(slices), planes, pixel),
        "CT",
        "HU",
        projections.source,
    )


def _geometry(
    projections: Projections, size: int, pixel_mm: float, run: Trained | None
) -> Geometry:
    """What to rebin to: as fine as the scan, or the scanner that a dual-domain run knows."""
    task = None if run is None else run.experiment.task
    if task is not None:
        _check(task)
    if not _sees_rays(task):
        return geometry_for(projections, size, pixel_mm)
    assert isinstance(task, LowDoseProjections)
    known = task.whole(size)
    if known.image_size != size:
        raise UserError(
            f"this run restores slices of {known.image_size} x {known.image_size} pixels; give "
            f"--size {known.image_size}"
        )
    if not isinstance(known, ParallelBeam):
        raise UserError(
            "this run learned from a fan beam; give one that learned from parallel rays"
        )
    return ParallelBeam.for_image(size, pixel_mm, known.views)


def _slice(
    rays: Float32[np.ndarray, "1 views detectors 1"],
    geometry: Geometry,
    mu_water: float,
    filter: Filter,
    run: Trained | None,
) -> Float32[np.ndarray, "y x"]:
    """One slice in HU."""
    task = None if run is None else run.experiment.task
    chosen = task.filter if isinstance(task, LowDoseProjections) else filter
    hu = np.asarray(attenuation_to_hu(fbp(geometry, jnp.asarray(rays), chosen), mu_water))[
        0, ..., 0
    ]
    if run is None:
        return hu
    if not _sees_rays(task):
        return run.restore(hu)
    # In the units of medjax's beam, in which water is 0.02 /mm.
    sinogram = np.asarray(rays, np.float32) * np.float32(MU_WATER / mu_water)
    given = {
        "image": hu,
        "sinogram": sinogram[0, ..., 0],
        "level": np.asarray(_ray_noise(sinogram))[0, ..., 0],
        "pixel_mm": np.asarray(geometry.pixel_mm, np.float32),
    }
    return run.restore(given)


_ray_noise = jax.jit(blind_ray_noise)


def _check(task: Task) -> None:
    if task.unit != "HU" or task.dims != 2:
        raise UserError(
            "this run restores no CT slices; give one of an ldct experiment (medjax list)"
        )


def _sees_rays(task: Any) -> bool:
    return isinstance(task, LowDoseProjections) and task.dual


def _places(projections: Projections, planes: Planes) -> list[float]:
    """Where the planes lie, from low to high."""
    low, high = planes.z_mm or (float(projections.z_mm.min()), float(projections.z_mm.max()))
    if not projections.helical and planes.z_mm is None:
        return [float(np.mean(projections.centre_z_mm))]
    count = int((high - low) / planes.every_mm + 1e-6) + 1
    return [low + k * planes.every_mm for k in range(count)]


def _affine(
    projections: Projections, first_mm: float, planes: Planes, pixel_mm: float
) -> Float32[np.ndarray, "4 4"]:
    """From (z, y, x) to the patient's right, anterior, superior, as the format's manual has it."""
    position = projections.patient_position
    if position not in _TOWARDS:
        _log.warning(
            "%s: patient position %r is unknown; taken as head first, supine",
            projections.source,
            position,
        )
    right, front, up = _TOWARDS.get(position, _TOWARDS["HFS"])
    edge = pixel_mm * (planes.size - 1) / 2
    affine = np.zeros((4, 4))
    # Columns grow with the manual's x, rows against its y.
    affine[0, 2], affine[0, 3] = right * pixel_mm, -right * edge
    affine[1, 1], affine[1, 3] = -front * pixel_mm, front * edge
    affine[2, 0], affine[2, 3] = up * planes.every_mm, up * first_mm
    affine[3, 3] = 1
    return affine.astype(np.float32)


def volume_name(path: Path) -> None:
    """Raises UserError where a volume cannot be written under this name."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UserError(f"{path}: a reconstruction is written as .nii or .nii.gz; name it so")
