"""Raw CT projections in the DICOM-CT-PD format: the files of a series put together.

`dicom_ctpd` has the tags and their sources, `dicom_view` reads one file, and what comes out is a
`projections.Projections`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from medjax.errors import UserError
from medjax.io.dicom_view import ScanFacts, View, read_view
from medjax.io.projections import Projections

_NO_STEP = 1e-5
"""Radians under which the gantry stood still; a view is a thousandth of a turn or so."""


def read_projections(
    source: Path | Sequence[Path], *, z_range: tuple[float, float] | None = None
) -> Projections:
    """Reads the projections of one scan, sorted by InstanceNumber.

    A file that cannot be used is named in `problems` and the rest goes on. One view missing between
    two others is named there too: whoever interpolates between views does so across it.

    The central column is taken as the manual has it. GE's files in LDCT-and-Projection-data have
    been reported to count it otherwise; `physics.ct_centre.measure_central_column` finds out, and
    `Projections.with_central_column` sets it.

    Args:
      source: the folder of one series, or its files.
      z_range: keep the views whose focal spot lies between these two z in mm only. A whole body
        scan is 10 GB of line integrals; a slice needs a collimation's width around it.

    Raises:
      UserError: no projections, several series or spectra, views that disagree about the scanner,
        two or more neighbouring views missing, intensities without logarithm.
    """
    paths, name = _paths(source)
    views, problems = _views(paths, z_range)
    if not views:
        reason = problems[0] if problems else f"{name}: no file in it; name the folder of a series"
        raise UserError(reason)
    facts = _require_one_scan(views, name)
    views = sorted(views, key=lambda view: view.instance)
    problems += _missing(views, name)
    kept = [view for view in views if view.stored is not None]
    if not kept:
        z = [view.z_mm + view.shift.z_mm for view in views]
        raise UserError(
            f"{name}: no view in the z range asked for; the scan runs from {min(z):.1f} to "
            f"{max(z):.1f} mm"
        )
    return _assemble(kept, facts, tuple(problems), name)


def _paths(source: Path | Sequence[Path]) -> tuple[list[Path], Path]:
    if not isinstance(source, str | Path):
        paths = [Path(path) for path in source]
        if not paths:
            raise ValueError("read_projections() needs at least one file")
        return paths, paths[0]
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    if not source.is_dir():
        return [source], source
    seen = (path for path in source.iterdir() if not path.name.startswith("."))
    return sorted(path for path in seen if path.is_file()), source


def _views(
    paths: Sequence[Path], z_range: tuple[float, float] | None
) -> tuple[list[View], list[str]]:
    views, problems = [], []
    for path in paths:
        try:
            views.append(read_view(path, z_range))
        except UserError as error:
            problems.append(str(error))
    return views, problems


def _require_one_scan(views: Sequence[View], name: Path) -> ScanFacts:
    first = views[0].facts
    series = len({view.facts.series for view in views})
    if series > 1:
        raise UserError(
            f"{name}: projections of {series} series in one folder; give the files of one"
        )
    spectra = len({view.facts.spectrum for view in views})
    if spectra > 1:
        raise UserError(
            f"{name}: projections of {spectra} tubes, voltages or energies in one series; give the "
            "files of one SpectrumIndex"
        )
    numbers = [view.instance for view in views]
    if len(set(numbers)) < len(numbers):
        raise UserError(
            f"{name}: {len(numbers) - len(set(numbers))} of {len(numbers)} views are there twice "
            "(same InstanceNumber); remove the copies"
        )
    for view in views:
        if view.facts != first:
            raise UserError(
                f"{view.path}: disagrees with {views[0].path.name} about the scanner or the kind "
                "of scan; give the files of one scan"
            )
    return first


def _missing(views: Sequence[View], name: Path) -> list[str]:
    """A line about each lone view missing; raises UserError where neighbours are missing too."""
    lost = np.maximum(_lost_by_number(views), _lost_by_angle(views))
    holes = lost > 1
    if np.any(holes):
        first = int(np.argmax(holes))
        before, after = views[first], views[first + 1]
        raise UserError(
            f"{name}: {int(lost[holes].sum())} neighbouring views are missing or damaged, the "
            f"first after {before.path.name} (InstanceNumber {before.instance} to "
            f"{after.instance}); download the series again"
        )
    return [
        f"{name}: one view is missing after InstanceNumber {view.instance}"
        for view, gap in zip(views, lost, strict=False)
        if gap
    ]


def _lost_by_number(views: Sequence[View]) -> Float64[np.ndarray, "gap"]:
    steps = np.diff([view.instance for view in views]).astype(float)
    return np.rint(steps / np.median(steps)) - 1 if len(steps) else steps


def _lost_by_angle(views: Sequence[View]) -> Float64[np.ndarray, "gap"]:
    """Files that are numbered anew after some were lost still show it in their angles.

    A table that moves on between two turns leaves a gap in the angle that is none.
    """
    steps = np.abs(_wrapped(np.diff([view.angle for view in views])))
    if not len(steps):
        return steps
    travel = np.abs(np.diff([view.z_mm for view in views]))
    facts = views[0].facts
    magnification = facts.detector.radius_mm / views[0].radius_mm
    moved = ~np.bool_(facts.helical) & (travel > facts.detector.row_mm / magnification / 2)
    # Views of several focal spot positions may share one angle of the detector.
    moving = steps[steps > _NO_STEP]
    usual = float(np.median(moving)) if len(moving) else np.inf
    return np.where(moved, 0, np.maximum(np.rint(steps / usual) - 1, 0))


def _wrapped(angle: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _assemble(
    views: Sequence[View], facts: ScanFacts, problems: tuple[str, ...], name: Path
) -> Projections:
    centre = np.array([[view.angle, view.z_mm, view.radius_mm] for view in views]).T
    centre[0] = np.unwrap(centre[0])
    spot = centre + np.array([view.shift for view in views]).T
    return Projections(
        line_integrals=_line_integrals(views),
        angle=spot[0],
        z_mm=spot[1],
        radius_mm=spot[2],
        centre_angle=centre[0],
        centre_z_mm=centre[1],
        centre_radius_mm=centre[2],
        detector=facts.detector,
        instance=np.array([view.instance for view in views], np.int64),
        helical=facts.helical,
        focal_spot=facts.focal_spot,
        mu_water=facts.mu_water,
        tube_current_ma=_all_or_none([view.current for view in views]),
        photons=_all_or_none([view.photons for view in views]),
        patient_position=facts.patient_position,
        views_per_turn=facts.views_per_turn,
        corrections=dict(facts.corrections),
        problems=problems,
        source=name,
    )


def _line_integrals(views: Sequence[View]) -> Float32[np.ndarray, "view row column"]:
    detector = views[0].facts.detector
    result = np.empty((len(views), detector.rows, detector.columns), np.float32)
    for place, view in zip(result, views, strict=True):
        slope, intercept = view.rescale
        if view.stored is None:
            raise ValueError("_line_integrals() needs views with readings")
        place[:] = view.stored * np.float64(slope) + intercept
    return result


def _all_or_none(values: Sequence[object]) -> Float32[np.ndarray, "view ..."] | None:
    if any(value is None for value in values):
        return None
    return np.array(values, np.float32)
