"""Whole heads by MR, one grid for all: turned alike, resampled, cropped; the dataset "mri_t1"."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from nibabel import orientations
from skimage.transform import resize

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import fill_invalid
from medjax.data.recipes import Recipe, data_folder
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.scan import Scan

SPACING_MM = 2.0
# 192 mm from the vertex down, 224 mm from front to back, 192 mm across: every adult's brain,
# and the neck cut off. Multiples of 16 suit the U-Net.
SHAPE = (96, 112, 96)
# Where the head ends: the profile of the bright voxels falls under this share of its largest.
EMPTY_BELOW = 0.02


@dataclasses.dataclass(frozen=True)
class Volume:
    """One file in a folder below MEDJAX_DATA, and where it belongs."""

    folder: str
    file: str
    case: str
    split: str


VOLUMES = (
    Volume("mri_volumes", "pycortex_S1_T1_256.nii.gz", "t1-head-a", "train"),
    Volume("mri_volumes", "niivue_chris_t1.nii.gz", "t1-head-b", "train"),
    Volume("mri_dicom_vsseg", "vsseg001_t1gd_256x256x96.nii.gz", "t1-gd-head-c", "test"),
    Volume("mri_volumes", "niivue_MR_Gd.nii.gz", "t1-gd-brain-d", "test"),
    # Another contrast than any network trained on this dataset has seen.
    Volume("mri_volumes", "niivue_M2208_T2w.nii.gz", "t2-brain-e", "extra"),
)

INFO = DatasetInfo(
    name="mri_t1",
    version="1.0.0",
    licence="BSD-2 (a), CC BY-NC 4.0 (b), CC BY 4.0 (c), figshare 7472168 (d), not stated (e)",
    source="T1-weighted heads of four subjects from pycortex, niivue-demo-images and TCIA's "
    "Vestibular-Schwannoma-SEG, at 2 mm; a T2-weighted fifth as extra",
    modality="MR",
    unit="",
    dims=3,
)


def shards() -> Mapping[str, Sequence[Shard]]:
    """One shard a volume.

    Raises:
      UserError: a folder is missing.
    """
    dealt: dict[str, list[Shard]] = {}
    for volume in VOLUMES:
        file = data_folder(volume.folder, INFO.name, INFO.dims) / volume.file
        dealt.setdefault(volume.split, []).append(functools.partial(_read, volume, file))
    return dealt


RECIPE = Recipe(INFO, shards, local=True)


def _read(volume: Volume, file: Path) -> Iterator[Record]:
    yield {
        "image": standard_grid(read_scan(file, INFO.modality)),
        "spacing": np.full(3, SPACING_MM, np.float32),
        "case": volume.case,
        "subject": volume.case,
        "modality": INFO.modality,
        "unit": INFO.unit,
        "index": 0,
    }


def standard_grid(scan: Scan) -> Float32[np.ndarray, "z y x"]:
    """A head as [z, y, x] rising towards superior, anterior and right, `SHAPE` of 2 mm voxels.

    The head's box is centred across and from front to back; from top to bottom the vertex lies
    near the upper end and the neck is cut off. What the scan does not cover is 0.

    Raises:
      UserError: the scan does not say how it lies in space.
    """
    if scan.affine is None or scan.spacing is None or scan.axes != "zyx":
        raise UserError(f"{scan.source}: is no volume that says how it lies in space; leave it out")
    turn = orientations.io_orientation(np.asarray(scan.affine, np.float64))
    turned = orientations.apply_orientation(fill_invalid(scan), turn).transpose(2, 1, 0)
    # Row i of `turn` says where axis i of the array goes, x first.
    spacing = [0.0, 0.0, 0.0]
    for (target, _), mm in zip(turn, scan.spacing, strict=True):
        spacing[2 - int(target)] = mm
    size = [max(1, round(n * mm / SPACING_MM)) for n, mm in zip(turned.shape, spacing, strict=True)]
    low = float(turned.min())
    small = np.asarray(
        resize(turned - low, size, order=1, anti_aliasing=True, preserve_range=True), np.float32
    )
    for axis, length in enumerate(SHAPE):
        small = _fit(small, axis, length, top=axis == 0)
    return np.ascontiguousarray(small)


def _fit(
    image: Float32[np.ndarray, "z y x"], axis: int, length: int, top: bool
) -> Float32[np.ndarray, "z y x"]:
    """Crops or pads one axis about the head: its middle, or its upper end."""
    others = tuple(a for a in range(image.ndim) if a != axis)
    bright = image > 0.2 * np.percentile(image, 99)
    profile = bright.mean(axis=others)
    inside = np.flatnonzero(profile > EMPTY_BELOW * profile.max())
    first, last = (int(inside[0]), int(inside[-1])) if inside.size else (0, image.shape[axis] - 1)
    # Some air above the vertex, so that nothing wraps around into the brain.
    start = last + 5 - length if top else (first + last + 1 - length) // 2
    if top and last - first + 9 < length:
        start = (first + last + 1 - length) // 2
    before, after = max(0, -start), max(0, start + length - image.shape[axis])
    pads = [(before, after) if a == axis else (0, 0) for a in range(image.ndim)]
    part = [slice(None)] * image.ndim
    part[axis] = slice(start + before, start + before + length)
    return np.pad(image, pads)[tuple(part)]
