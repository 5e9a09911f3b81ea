"""The private elements of DICOM-CT-PD: which tag holds what, and in which unit.

Chen et al., "Technical Note: Development and validation of an open data format for CT projection
data", Med. Phys. 42 (2015) 6964; DICOM-CT-PD User Manual, version 3 (2020); the table of tags is
also Table IV of Moen et al., Med. Phys. 48 (2021) 902.

The public files state no VR (implicit syntax, or UN), so values come as bytes and are decoded by
the dictionary's VR here; files that state it are read as they are.

Two generations of files differ. Dictionary v8 (the 2016 Low Dose CT Grand Challenge) has the axial
shift of the focal spot at (7033,100B), the angular one at (7033,100C), and the attenuation of water
at (0018,0061) HUCalibrationFactor. Later ones (TCIA's LDCT-and-Projection-data) have the shifts the
other way round and the water at (7041,1001). The element with the water tells them apart.

pydicom may warn about values and quote them: callers silence it, once a file, by `common.quiet`.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medjax.io.dicom_file import BROKEN, first_number

TAGS: dict[str, tuple[int, str]] = {
    "NumberofDetectorRows": (0x70291010, "US"),
    "NumberofDetectorColumns": (0x70291011, "US"),
    "DetectorElementTransverseSpacing": (0x70291002, "FL"),  # mm, at the detector
    "DetectorElementAxialSpacing": (0x70291006, "FL"),  # mm, at the detector
    "DetectorShape": (0x7029100B, "CS"),  # CYLINDRICAL, SPHERICAL, FLAT
    "DetectorFocalCenterAngularPosition": (0x70311001, "FL"),  # rad
    "DetectorFocalCenterAxialPosition": (0x70311002, "FL"),  # mm
    "DetectorFocalCenterRadialDistance": (0x70311003, "FL"),  # mm from the isocentre
    "ConstantRadialDistance": (0x70311031, "FL"),  # mm, focal centre to central element
    "DetectorCentralElement": (0x70311033, "FL"),  # (column, row), counted from 1
    "SourceAngularPositionShift": (0x7033100B, "FL"),  # rad; v8: mm, axial
    "SourceAxialPositionShift": (0x7033100C, "FL"),  # mm; v8: rad, angular
    "SourceRadialDistanceShift": (0x7033100D, "FL"),  # mm
    "FlyingFocalSpotMode": (0x7033100E, "CS"),  # FFSNONE, FFSZ, FFSXY, FFSXYZ
    "NumberofSourceAngularSteps": (0x70331013, "US"),  # views a turn
    "SpectrumIndex": (0x70331063, "US"),  # tube, voltage, layer or energy bin
    "PhotonStatistics": (0x70331065, "FL"),  # noise-equivalent quanta in air, one a column
    "TypeofProjectionData": (0x70371009, "CS"),  # AXIAL, HELICAL
    "TypeofProjectionGeometry": (0x7037100A, "CS"),  # FANBEAM: source and detector turn together
    "BeamHardeningCorrectionFlag": (0x70391003, "CS"),  # YES, NO; as all flags
    "GainCorrectionFlag": (0x70391004, "CS"),
    "DarkFieldCorrectionFlag": (0x70391005, "CS"),
    "FlatFieldCorrectionFlag": (0x70391006, "CS"),
    "BadPixelCorrectionFlag": (0x70391007, "CS"),
    "ScatterCorrectionFlag": (0x70391008, "CS"),
    "LogFlag": (0x70391009, "CS"),
    "WaterAttenuationCoefficient": (0x70411001, "DS"),  # 1/mm
    "HUCalibrationFactor": (0x00180061, "DS"),  # 1/mm; v8
}

_FIXED = {"US": "u2", "FL": "f4"}

_PER_CM = 0.1
"""Water attenuates 0.015 to 0.04 /mm from 30 to 150 keV: a value above this is in 1/cm."""


class Shift(NamedTuple):
    """Focal spot minus the detector's focal centre."""

    angle: float
    z_mm: float
    radius_mm: float


def numbers_of(ds: Dataset, name: str) -> Float64[np.ndarray, "n"] | None:
    """The numbers of one element of `TAGS`; None where absent, empty, damaged or not finite."""
    raw, vr = _raw(ds, name), TAGS[name][1]
    if raw is None:
        return None
    if isinstance(raw, bytes) and vr in _FIXED:
        order = ">" if ds.original_encoding[1] is False else "<"
        kind = np.dtype(order + _FIXED[vr])
        if not raw or len(raw) % kind.itemsize:
            return None
        found = np.frombuffer(raw, kind).astype(np.float64)
    else:
        parts = _text(raw).split("\\") if isinstance(raw, bytes | str) else _listed(raw)
        values = [first_number(part) for part in parts]
        if not values or None in values:
            return None
        found = np.array(values, np.float64)
    return found if np.all(np.isfinite(found)) else None


def number_of(ds: Dataset, name: str) -> float | None:
    """The only number of one element of `TAGS`, None as in `numbers_of`."""
    found = numbers_of(ds, name)
    return None if found is None else float(found[0])


def text_of(ds: Dataset, name: str) -> str:
    """One coded string of `TAGS` in capitals, "" where absent."""
    raw = _raw(ds, name)
    return "" if raw is None else _text(raw).upper()


def shift_of(ds: Dataset) -> Shift:
    """The flying focal spot's shift; nothing where the file has none. Knows both dictionaries."""
    angle = number_of(ds, "SourceAngularPositionShift") or 0.0
    z_mm = number_of(ds, "SourceAxialPositionShift") or 0.0
    if _is_v8(ds):
        angle, z_mm = z_mm, angle
    return Shift(angle, z_mm, number_of(ds, "SourceRadialDistanceShift") or 0.0)


def water_of(ds: Dataset) -> float | None:
    """Attenuation of water in 1/mm that the projections are calibrated to; None where unsaid."""
    name = "HUCalibrationFactor" if _is_v8(ds) else "WaterAttenuationCoefficient"
    found = number_of(ds, name)
    if found is None or found <= 0:
        return None
    return found / 10 if found > _PER_CM else found


def corrections_of(ds: Dataset) -> dict[str, bool]:
    """What was done to the projections before they were stored, of what the file speaks of."""
    flags = {name: text_of(ds, name) for name in TAGS if name.endswith("Flag")}
    return {name.removesuffix("Flag"): flag == "YES" for name, flag in flags.items() if flag}


def _is_v8(ds: Dataset) -> bool:
    return _raw(ds, "WaterAttenuationCoefficient") is None and (
        _raw(ds, "HUCalibrationFactor") is not None
    )


def _raw(ds: Dataset, name: str) -> Any:
    try:
        element = ds.get(Tag(TAGS[name][0]))
        return None if element is None else element.value
    except BROKEN:
        return None


def _listed(raw: Any) -> list[Any]:
    return list(raw) if hasattr(raw, "__len__") else [raw]


def _text(raw: Any) -> str:
    return (raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)).strip("\0 ")
