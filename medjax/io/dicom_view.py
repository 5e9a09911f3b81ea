"""One file of raw CT projections in the DICOM-CT-PD format: one view, opened and checked."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64, Integer
from pydicom.dataset import Dataset

from medjax.errors import UserError
from medjax.io.common import quiet
from medjax.io.dicom_ctpd import (
    Shift,
    corrections_of,
    number_of,
    numbers_of,
    shift_of,
    text_of,
    water_of,
)
from medjax.io.dicom_file import attribute, decode, frames_of, number, open_dicom
from medjax.io.projections import Detector, DetectorShape

_LARGEST_ANGLE_SHIFT = 0.1
"""Radians; focal spots fly a few millimetres on a circle of 600, which is a hundredth of that."""


@dataclasses.dataclass(frozen=True)
class ScanFacts:
    """What all views of a scan share."""

    series: str
    spectrum: float | None
    detector: Detector
    helical: bool
    focal_spot: str
    mu_water: float | None
    patient_position: str
    views_per_turn: int | None
    corrections: tuple[tuple[str, bool], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One file: the detector's focal centre, the focal spot's shift, the stored readings.

    `stored` and `photons` are None for a view outside the z range that was asked for.
    """

    path: Path
    instance: int
    facts: ScanFacts
    angle: float
    z_mm: float
    radius_mm: float
    shift: Shift
    current: float | None
    photons: Float64[np.ndarray, "column"] | None
    rescale: tuple[float, float]
    stored: Integer[np.ndarray, "row column"] | None


def read_view(path: Path, z_range: tuple[float, float] | None) -> View:
    """Reads one view; its pixels only where the focal spot lies between the two z in mm.

    Raises:
      UserError: damaged, no CT projection, or one that this reader does not understand.
    """
    with quiet():
        return _view(path, z_range)


def _view(path: Path, z_range: tuple[float, float] | None) -> View:
    # Most of a file is pixels: where few views are wanted, headers are read first.
    ds = open_dicom(path, pixels=z_range is None)
    detector = _detector(ds, path)
    _require_line_integrals(ds, path)
    instance, slope = number(ds, "InstanceNumber"), number(ds, "RescaleSlope")
    intercept = number(ds, "RescaleIntercept")
    if instance is None:
        raise UserError(f"{path}: has no InstanceNumber, so its place in the scan is unknown")
    if not slope or intercept is None:
        raise UserError(f"{path}: has no rescale from stored values to line integrals")
    shift = shift_of(ds)
    if abs(shift.angle) > _LARGEST_ANGLE_SHIFT:
        raise UserError(
            f"{path}: its focal spot is shifted by {shift.angle:.3g} rad, more than any tube can; "
            "the shifts are stored in an unknown order"
        )
    radius_mm = _required(ds, "DetectorFocalCenterRadialDistance", path)
    if radius_mm <= 0:
        raise UserError(f"{path}: damaged DICOM-CT-PD file (source on the axis of rotation)")
    z_mm = _required(ds, "DetectorFocalCenterAxialPosition", path)
    spot = z_mm + shift.z_mm
    wanted = z_range is None or min(z_range) <= spot <= max(z_range)
    if wanted and z_range is not None:
        ds = open_dicom(path)
    return View(
        path=path,
        instance=int(instance),
        facts=_facts(ds, detector),
        angle=_required(ds, "DetectorFocalCenterAngularPosition", path),
        z_mm=z_mm,
        radius_mm=radius_mm,
        shift=shift,
        current=number(ds, "XRayTubeCurrent"),
        photons=_photons(ds, detector) if wanted else None,
        rescale=(slope, intercept),
        stored=_readings(ds, detector, path) if wanted else None,
    )


def _required(ds: Dataset, name: str, path: Path) -> float:
    found = number_of(ds, name)
    if found is None:
        raise UserError(
            f"{path}: no CT projection in the DICOM-CT-PD format (no {name}); remove it from the "
            "folder or download it again"
        )
    return found


def _detector(ds: Dataset, path: Path) -> Detector:
    shape = text_of(ds, "DetectorShape")
    rows = _required(ds, "NumberofDetectorRows", path)
    columns = _required(ds, "NumberofDetectorColumns", path)
    sizes = [
        _required(ds, name, path)
        for name in (
            "DetectorElementAxialSpacing",
            "DetectorElementTransverseSpacing",
            "ConstantRadialDistance",
        )
    ]
    central = numbers_of(ds, "DetectorCentralElement")
    if shape not in get_args(DetectorShape):
        raise UserError(f"{path}: unknown shape of detector {shape!r}; this file cannot be used")
    if central is None or len(central) != 2 or min(rows, columns, *sizes) <= 0:
        raise UserError(f"{path}: damaged DICOM-CT-PD file (size or centre of the detector)")
    return Detector(
        shape=shape,  # pyright: ignore[reportArgumentType]
        rows=int(rows),
        columns=int(columns),
        row_mm=sizes[0],
        column_mm=sizes[1],
        radius_mm=sizes[2],
        central_column=float(central[0]) - 1,
        central_row=float(central[1]) - 1,
    )


def _require_line_integrals(ds: Dataset, path: Path) -> None:
    geometry = text_of(ds, "TypeofProjectionGeometry")
    if geometry not in ("", "FANBEAM"):
        raise UserError(
            f"{path}: projections of geometry {geometry!r}; only third-generation scanners "
            "(FANBEAM) can be read"
        )
    if text_of(ds, "LogFlag") == "NO":
        raise UserError(
            f"{path}: holds intensities, not their logarithm (LogFlag NO); convert it to line "
            "integrals first"
        )
    if frames_of(ds) > 1:
        raise UserError(
            f"{path}: holds {frames_of(ds)} views in one file; only one file a view can be read"
        )


def _facts(ds: Dataset, detector: Detector) -> ScanFacts:
    turn = number_of(ds, "NumberofSourceAngularSteps")
    return ScanFacts(
        series=str(attribute(ds, "SeriesInstanceUID") or ""),
        spectrum=number_of(ds, "SpectrumIndex"),
        detector=detector,
        helical=text_of(ds, "TypeofProjectionData") == "HELICAL",
        focal_spot=text_of(ds, "FlyingFocalSpotMode") or "FFSNONE",
        mu_water=water_of(ds),
        patient_position=str(attribute(ds, "PatientPosition") or ""),
        views_per_turn=int(turn) if turn else None,
        corrections=tuple(sorted(corrections_of(ds).items())),
    )


def _photons(ds: Dataset, detector: Detector) -> Float64[np.ndarray, "column"] | None:
    found = numbers_of(ds, "PhotonStatistics")
    return found if found is not None and len(found) == detector.columns else None


def _readings(ds: Dataset, detector: Detector, path: Path) -> Integer[np.ndarray, "row column"]:
    """The public files store the transpose: an image row is a column of the detector."""
    stored = decode(ds, path)
    if stored.shape == (detector.rows, detector.columns):
        return stored
    if stored.shape == (detector.columns, detector.rows):
        return np.ascontiguousarray(stored.T)
    raise UserError(
        f"{path}: a detector of {detector.rows}x{detector.columns} elements, but an image of "
        f"{stored.shape[0]}x{stored.shape[-1]}; download it again"
    )
