"""DICOM to Scan: one file, classic or multi-frame, or the files of one series."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int, Num
from pydicom.dataset import Dataset

from medjax.errors import UserError
from medjax.io.common import quiet
from medjax.io.dicom_ctpd import TAGS
from medjax.io.dicom_file import (
    PIXELS,
    NoImageError,
    attribute,
    decode,
    frames_of,
    is_colour,
    number,
    numbers,
    open_dicom,
    subject_of,
)
from medjax.io.dicom_frames import Frame, frames, stacks
from medjax.io.dicom_stack import Stack, arrange
from medjax.io.dicom_values import to_values, unit_of
from medjax.scan import Scan

FORMAT = "dicom"


@dataclasses.dataclass(frozen=True)
class Source:
    """What the writer needs of the files that were read; kept in `Scan.header["source"]`.

    Attributes:
      paths, datasets: the files and their headers without pixel data.
      order: which frame, counted through all files, lies at each time and slice.
      valid: False at the padding pixels of each frame, in the files' order.
      padding: the stored values of those pixels.
    """

    paths: tuple[Path, ...]
    datasets: tuple[Dataset, ...]
    order: Int[np.ndarray, "t z"]
    valid: tuple[Bool[np.ndarray, "y x"], ...]
    padding: tuple[Num[np.ndarray, "n"], ...]


def read_file(path: Path) -> Scan:
    """One DICOM file: an image, a cine loop ("tyx"), or an enhanced volume ("zyx", "tzyx").

    Raises:
      UserError: not DICOM, damaged, no image, unknown compression, or frames that form no volume.
    """
    return _read((path,), path)


def read_series(paths: Sequence[Path], source: Path) -> Scan:
    """Single-frame files of one series, in any order, as one image, volume or series of volumes.

    Raises:
      UserError: as `read_file`; or slices that are missing, doubled, uneven or do not belong
        together.
    """
    return _read(tuple(paths), source)


def _read(paths: tuple[Path, ...], source: Path) -> Scan:
    datasets: list[Dataset] = []
    found: list[Frame] = []
    values: list[Float32[np.ndarray, "y x ..."]] = []
    valid: list[Bool[np.ndarray, "y x"]] = []
    padding: list[Num[np.ndarray, ...]] = []
    for path in paths:
        ds = open_dicom(path)
        require_plain(ds, path)
        stored = decode(ds, path)
        stored = stored.reshape(-1, *stored.shape[-3 if is_colour(ds) else -2 :])
        with quiet():
            own, mask = to_values(ds, stored)
            found.extend(frames(ds))
            _drop_pixels(ds)
        mask = np.ones(stored.shape[:3], bool) if mask is None else mask
        values.extend(own)
        valid.extend(mask)
        padding.extend(plane[~m] for plane, m in zip(stored, mask, strict=True))
        datasets.append(ds)
    if len(values) != len(found):
        raise UserError(
            f"{source}: header says {len(found)} frames, the data hold {len(values)}; "
            "export it again"
        )
    with quiet():
        stack = stack_of(found, source)
        order = np.arange(len(found))[:, None] if stack is None else stack.order
        kept = Source(paths, tuple(datasets), order, tuple(valid), tuple(padding))
        return _scan(kept, found[0], stack, values, source)


def require_plain(ds: Dataset, path: Path) -> None:
    """Raises UserError for what only looks like an image of one plane."""
    if TAGS["NumberofDetectorRows"][0] in ds:
        raise NoImageError(
            f"{path}: a raw projection of a CT scan (DICOM-CT-PD), not an image; "
            "medjax reconstruct makes a volume of its folder"
        )
    if "MOSAIC" in (attribute(ds, "ImageType") or ()):
        raise UserError(
            f"{path}: a Siemens mosaic, a whole volume tiled into one image; convert it to NIfTI "
            "with dcm2niix first"
        )


def _drop_pixels(ds: Dataset) -> None:
    for name in PIXELS:
        if name in ds:
            del ds[name]


def stack_of(found: Sequence[Frame], source: Path) -> Stack | None:
    """The frames in order; None for frames that have no place (pictures, cine loops).

    Raises:
      UserError: frames of several directions, sizes or contrasts, or see `arrange`.
    """
    if not any(frame.placed for frame in found):
        return None
    parts = stacks(found)
    if len(parts) > 1:
        sizes = ", ".join(f"{len(part)} of {_describe(found[part[0]])}" for part in parts[:4])
        raise UserError(
            f"{source}: {len(parts)} stacks of images that form no single volume ({sizes}"
            f"{', ...' if len(parts) > 4 else ''}); give the files of one stack"
        )
    return arrange(found, source)


def _describe(frame: Frame) -> str:
    kind = "/".join(part for part in frame.contrast if part)
    return f"{frame.size[0]}x{frame.size[1]}" + (f" {kind}" if kind else "")


def _scan(
    kept: Source,
    first: Frame,
    stack: Stack | None,
    values: Sequence[Float32[np.ndarray, "y x ..."]],
    source: Path,
) -> Scan:
    ds = kept.datasets[0]
    times, slices = kept.order.shape
    axes = ("t" if times > 1 else "") + ("z" if slices > 1 else "") + "yx"
    colour = "c" if is_colour(ds) else ""
    if axes == "tzyx" and colour:
        raise UserError(f"{source}: colour volumes over time are not supported; split the series")
    lead = (*([times] if times > 1 else []), *([slices] if slices > 1 else []))
    array = np.stack([values[i] for i in kept.order.ravel()])
    padded = any(len(padding) for padding in kept.padding)
    mask = np.stack([kept.valid[i] for i in kept.order.ravel()]) if padded else None
    spacing = first.spacing if stack is None else stack.spacing[-2 - ("z" in axes) :]
    return Scan(
        array=array.reshape(*lead, *array.shape[1:]),
        axes=axes + colour,
        spacing=spacing,
        affine=None if stack is None else stack.affine,
        modality=str(attribute(ds, "Modality") or "OT"),
        unit=unit_of(ds),
        source=source,
        subject=subject_of(ds, source),
        valid=None if mask is None else mask.reshape(*lead, *mask.shape[1:]),
        time_step=_time_step(ds, stack) if times > 1 else None,
        header={"format": FORMAT, "source": kept},
    )


def _time_step(ds: Dataset, stack: Stack | None) -> float | None:
    """Seconds a frame: of a stack by its positions' times, of a cine loop by its rate."""
    if stack is not None:
        resolution = number(ds, "TemporalResolution")
        return stack.time_step or (resolution / 1000 if resolution else None)
    frame_time = number(ds, "FrameTime")
    if frame_time:
        return frame_time / 1000
    vector = numbers(ds, "FrameTimeVector", frames_of(ds))
    if vector and len(vector) > 1:
        return float(np.mean(vector[1:])) / 1000
    rate = number(ds, "CineRate") or number(ds, "RecommendedDisplayFrameRate")
    return 1 / rate if rate else None
