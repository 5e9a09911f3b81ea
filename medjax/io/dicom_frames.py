"""Where each DICOM frame lies in space and time, read from classic and enhanced headers alike."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset

from medjax.io.dicom_file import attribute, frames_of, number, numbers

# Values of ImageType that tell apart images lying at the same place in one series.
CONTRASTS = frozenset(
    {
        *("LOCALIZER", "M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"),
        *("W", "F", "IP", "OP", "WATER", "FAT", "IN_PHASE", "OUT_PHASE"),
    }
)
TURN = 2e-3
"""Direction cosines closer than this are one direction: files round them to 3 to 6 digits."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One plane of pixels.

    Attributes:
      label: "instance 12" or "frame 3": what error messages call it.
      size: rows, columns, samples per pixel.
      position: centre of the first pixel, mm, DICOM's patient frame (LPS+); None: unknown.
      rows, columns: unit vectors along which the row index and the column index grow.
      spacing: mm between rows and between columns.
      thickness: mm to the next slice as far as a lone slice can tell.
      clocks: name to value of every attribute that could order frames in time.
      contrast: what must be equal in frames of one volume.
      uid: SOPInstanceUID, "" for frames of a multi-frame file.
    """

    label: str
    size: tuple[int, int, int]
    position: Float[np.ndarray, "3"] | None
    rows: Float[np.ndarray, "3"] | None
    columns: Float[np.ndarray, "3"] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    clocks: dict[str, float]
    contrast: tuple[str, ...]
    uid: str

    @property
    def placed(self) -> bool:
        """True where position, directions and spacing are all known."""
        return self.position is not None and self.rows is not None and self.spacing is not None


def frames(ds: Dataset) -> tuple[Frame, ...]:
    """The frames of one file in their stored order."""
    count = frames_of(ds)
    if count == 1 and "PerFrameFunctionalGroupsSequence" not in ds:
        return (_frame(ds, None),)
    return tuple(_frame(ds, index) for index in range(count))


def group(ds: Dataset, index: int | None, keyword: str) -> Dataset:
    """The item of one functional group that holds for a frame; the file itself for classic ones."""
    if index is not None:
        per_frame = attribute(ds, "PerFrameFunctionalGroupsSequence") or ()
        shared = attribute(ds, "SharedFunctionalGroupsSequence") or ()
        for holder in (*per_frame[index : index + 1], *shared[:1]):
            items = attribute(holder, keyword)
            if items:
                return items[0]
    return ds


def _frame(ds: Dataset, index: int | None) -> Frame:
    position = numbers(group(ds, index, "PlanePositionSequence"), "ImagePositionPatient", 3)
    columns, rows = _directions(
        numbers(group(ds, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    )
    measures = group(ds, index, "PixelMeasuresSequence")
    instance = number(ds, "InstanceNumber")
    label = f"frame {index + 1}" if index is not None else f"instance {int(instance or 0)}"
    # Without functional groups a multi-frame file has one position for all: that is no place.
    known = index is None or "PerFrameFunctionalGroupsSequence" in ds
    return Frame(
        label=label,
        size=(int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel)),
        position=np.array(position) if position and known else None,
        rows=rows,
        columns=columns,
        spacing=_spacing(ds, measures),
        thickness=number(measures, "SpacingBetweenSlices") or number(measures, "SliceThickness"),
        clocks=_clocks(ds, index),
        contrast=_contrast(ds, index),
        uid=str(attribute(ds, "SOPInstanceUID") or "") if index is None else "",
    )


def _directions(
    cosines: Sequence[float] | None,
) -> tuple[Float[np.ndarray, "3"] | None, Float[np.ndarray, "3"] | None]:
    """Where columns and rows grow; DICOM's first triple is the way along a row."""
    if cosines is None:
        return None, None
    columns, rows = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(columns), np.linalg.norm(rows)
    if min(lengths) < 0.5 or abs(columns @ rows) > 0.05:
        return None, None
    return columns / lengths[0], rows / lengths[1]


def _spacing(ds: Dataset, measures: Dataset) -> tuple[float, float] | None:
    """Millimetres between rows and columns.

    Radiographs state it at the detector (ImagerPixelSpacing), ultrasound in its calibrated regions.
    """
    for holder, keyword in (
        (measures, "PixelSpacing"),
        (ds, "ImagerPixelSpacing"),
        (ds, "NominalScannedPixelSpacing"),
    ):
        found = numbers(holder, keyword, 2)
        if found and min(found) > 0:
            return found[0], found[1]
    return _ultrasound_spacing(ds)


def _ultrasound_spacing(ds: Dataset) -> tuple[float, float] | None:
    """From calibrated regions, where all two-dimensional ones (format 1, centimetres 3) agree."""
    found = set()
    for region in attribute(ds, "SequenceOfUltrasoundRegions") or ():
        if number(region, "RegionSpatialFormat") != 1:
            continue
        units = number(region, "PhysicalUnitsXDirection"), number(region, "PhysicalUnitsYDirection")
        steps = number(region, "PhysicalDeltaY"), number(region, "PhysicalDeltaX")
        if units != (3, 3) or not steps[0] or not steps[1]:
            return None
        found.add((round(10 * abs(steps[0]), 9), round(10 * abs(steps[1]), 9)))
    return found.pop() if len(found) == 1 else None


def _clocks(ds: Dataset, index: int | None) -> dict[str, float]:
    """Candidates that order frames at one place, the most telling first; times in seconds."""
    content = group(ds, index, "FrameContentSequence")
    cardiac = group(ds, index, "CardiacSynchronizationSequence")
    trigger = number(ds, "TriggerTime") or number(cardiac, "NominalCardiacTriggerDelayTime")
    found = {
        "TemporalPositionIndex": number(content, "TemporalPositionIndex"),
        "TemporalPositionIdentifier": number(ds, "TemporalPositionIdentifier"),
        "TriggerTime": trigger / 1000 if trigger is not None else None,
        "FrameAcquisitionDateTime": _seconds(attribute(content, "FrameAcquisitionDateTime"), 8),
        "AcquisitionNumber": number(ds, "AcquisitionNumber"),
        "AcquisitionTime": _seconds(attribute(ds, "AcquisitionTime"), 0),
        "ContentTime": _seconds(attribute(ds, "ContentTime"), 0),
    }
    return {name: value for name, value in found.items() if value is not None}


def _seconds(value: object, date_digits: int) -> float | None:
    """Seconds since midnight of DICOM's TM (`date_digits=0`) or DT (8) text."""
    text = str(value or "")[date_digits:].split("+")[0].split("-")[0].strip()
    clock, _, fraction = text.partition(".")
    if not clock.isdigit() or len(clock) not in (4, 6) or (fraction and not fraction.isdigit()):
        return None
    parts = [int(clock[i : i + 2]) for i in range(0, len(clock), 2)] + [0]
    return parts[0] * 3600 + parts[1] * 60 + parts[2] + float(f"0.{fraction or 0}")


def _contrast(ds: Dataset, index: int | None) -> tuple[str, ...]:
    kind = attribute(ds, "ImageType") or ()
    kinds = sorted(CONTRASTS.intersection([kind] if isinstance(kind, str) else kind))
    echo = attribute(ds, "EchoNumbers") if index is None else None
    return (*kinds, str(echo or ""))


def stacks(found: Sequence[Frame]) -> tuple[tuple[int, ...], ...]:
    """Indices of the frames that belong together: same size, direction, spacing and contrast.

    A frame without a place is alone.
    """
    groups: list[list[int]] = []
    for index, frame in enumerate(found):
        for members in groups:
            if frame.placed and _alike(frame, found[members[0]]):
                members.append(index)
                break
        else:
            groups.append([index])
    return tuple(tuple(members) for members in groups)


def _alike(a: Frame, b: Frame) -> bool:
    if not b.placed or a.size != b.size or a.contrast != b.contrast:
        return False
    same_way = all(
        x is not None and y is not None and np.allclose(x, y, atol=TURN)
        for x, y in ((a.rows, b.rows), (a.columns, b.columns))
    )
    return same_way and np.allclose(a.spacing or (), b.spacing or (), rtol=1e-3)
