"""Raw CT projections: line integrals with the place of focal spot and detector for every view."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

DetectorShape = Literal["CYLINDRICAL", "SPHERICAL", "FLAT"]


@dataclasses.dataclass(frozen=True)
class Detector:
    """The detector of a third-generation scanner; it turns with the source.

    Attributes:
      shape: CYLINDRICAL: an arc around the focal centre, straight along z. SPHERICAL: every element
        at one distance from the focal centre. FLAT: a plane.
      rows, columns: number of elements along z and along the fan.
      row_mm, column_mm: spacing, measured at the detector (along the arc where it is curved).
      radius_mm: from the focal centre to the central element.
      central_column, central_row: where the line from focal centre through isocentre meets the
        detector, counted from 0, in fractions of an element.
    """

    shape: DetectorShape
    rows: int
    columns: int
    row_mm: float
    column_mm: float
    radius_mm: float
    central_column: float
    central_row: float


@dataclasses.dataclass(frozen=True, eq=False)
class Projections:
    """The views of one scan, in the order of acquisition.

    Coordinates are those of the DICOM-CT-PD manual, fixed to the table: seen from the table, x
    points right, y up, z into the gantry (a left-handed frame), and angle φ grows anticlockwise
    from 12 o'clock: (x, y) = radius·(−sin φ, cos φ). With the source on top, columns count from
    left to right, and rows from the far end of the detector (large z) to the near one.

    The *focal centre* belongs to the detector; the *focal spot* is where the rays come from. They
    differ where the focal spot flies, or where a scanner states a constant offset.

    Which side is the patient's left follows from `patient_position` and the frame, if the files
    keep to the manual. Not all are said to: compare with the scanner's own images before anyone
    tells left from right.

    Attributes:
      line_integrals: −ln(I/I0), no unit.
      angle, z_mm, radius_mm: of the focal spot, shifts included; `angle` in radians, unwrapped.
      centre_angle, centre_z_mm, centre_radius_mm: the same of the detector's focal centre.
      detector: geometry of the detector.
      instance: InstanceNumber of each view.
      helical: False for a scan whose table stands still while it turns.
      focal_spot: FFSNONE, FFSZ, FFSXY or FFSXYZ.
      mu_water: attenuation of water in 1/mm that gives 0 HU; None where the files do not say.
      tube_current_ma: mA in each view; None where not stored for all of them.
      photons: noise-equivalent quanta of a ray through air, one a column (they do not vary along
        the rows), tube current and bowtie included; None where not stored for all views.
      patient_position: how the patient lay, as in DICOM (HFS: head first, supine); "" if unsaid.
      views_per_turn: as stored, every focal spot position counted; None where the files do not say.
      corrections: what was done to the data before they were stored, e.g. {"BeamHardening
        Correction": True}; what the files do not speak of is absent.
      problems: one line about each file passed over and each view missing.
      source: the folder, or the first file.
    """

    line_integrals: Float32[np.ndarray, "view row column"]
    angle: Float64[np.ndarray, "view"]
    z_mm: Float64[np.ndarray, "view"]
    radius_mm: Float64[np.ndarray, "view"]
    centre_angle: Float64[np.ndarray, "view"]
    centre_z_mm: Float64[np.ndarray, "view"]
    centre_radius_mm: Float64[np.ndarray, "view"]
    detector: Detector
    instance: Int64[np.ndarray, "view"]
    helical: bool
    focal_spot: str
    mu_water: float | None
    tube_current_ma: Float32[np.ndarray, "view"] | None
    photons: Float32[np.ndarray, "view column"] | None
    patient_position: str
    views_per_turn: int | None
    corrections: dict[str, bool]
    problems: tuple[str, ...]
    source: Path

    def with_central_column(self, column: float) -> "Projections":
        """The same scan with another place of the isocentre on the detector, counted from 0."""
        detector = dataclasses.replace(self.detector, central_column=column)
        return dataclasses.replace(self, detector=detector)
