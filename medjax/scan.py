"""Scan: what every reader returns and every writer takes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

AXES = frozenset({"yx", "zyx", "tyx", "tzyx", "yxc", "zyxc", "tyxc"})


@dataclasses.dataclass(frozen=True)
class Scan:
    """One image, volume or series in physical units, with where it lies in space.

    Attributes:
      array: float32 values in `unit`, axes in the order of `axes`.
      axes: one letter an axis: t(ime), z (slice), y (row), x (column), c(olour).
      spacing: millimetres between samples along the space axes, in their order in `axes`;
        None where the file does not say (a picture).
      affine: 4x4, maps the homogeneous array index (z, y, x, 1) to millimetres in the RAS+ frame
        of NIfTI (nibabel's);
        z is 0 for "yx" images. None where the file does not say.
      modality: DICOM's modality code ("CT", "MR", "US", ...), "OT" where unknown.
      unit: "HU" for CT, "" where values are arbitrary.
      source: the file or folder it was read from.
      subject: anonymous key of whoever was scanned, the same for all scans of one patient: a
        digest of the DICOM PatientID, else the file's stem. Splits go by it.
      valid: False where the file marks padding (outside the field of view); None: all valid.
      time_step: seconds between frames, for axes with t.
      header: what the reader's own writer needs to put the values back into the same
        format with nothing lost; opaque to everything else and never logged (patient data).
    """

    array: Float32[np.ndarray, "..."]
    axes: str
    spacing: tuple[float, ...] | None
    affine: Float32[np.ndarray, "4 4"] | None
    modality: str
    unit: str
    source: Path
    subject: str = ""
    valid: Bool[np.ndarray, "..."] | None = None
    time_step: float | None = None
    header: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.axes not in AXES:
            raise ValueError(f"axes {self.axes!r} is none of {sorted(AXES)}")
        if self.array.ndim != len(self.axes):
            raise ValueError(f"array of {self.array.ndim} axes with axes={self.axes!r}")
        if self.spacing is not None and len(self.spacing) != len(self.space):
            raise ValueError(f"{len(self.spacing)} spacings for the space axes {self.space!r}")
        pixels = self.array.shape[: len(self.axes.rstrip("c"))]
        if self.valid is not None and self.valid.shape != pixels:
            raise ValueError(f"valid of shape {self.valid.shape} for pixels of shape {pixels}")

    @property
    def space(self) -> str:
        """The space axes alone: "yx" or "zyx"."""
        return "".join(a for a in self.axes if a in "zyx")

    def replace(self, **changes: Any) -> "Scan":
        """The same scan with some fields changed."""
        return dataclasses.replace(self, **changes)
