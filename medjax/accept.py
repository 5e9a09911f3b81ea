"""Whether a scan is one that a network can restore, and its result one that a file can hold."""

from pathlib import Path

import numpy as np

from medjax.errors import UserError
from medjax.io import full_scale
from medjax.io.common import extension
from medjax.io.dicom import FORMAT as DICOM
from medjax.io.folder import DICOM_EXTENSIONS, READERS, with_modality
from medjax.io.picture import EXTENSIONS as PICTURES
from medjax.io.picture import FORMAT as PICTURE
from medjax.io.picture import TIFF
from medjax.remarks import Remark
from medjax.scan import Scan
from medjax.seen import Seen
from medjax.tasks.base import Task

UNKNOWN = ("", "OT")
# What one network may take for another: codes of one kind of picture.
ALIKE = (
    frozenset({"CR", "DX", "DR", "RG", "RF", "PX", "XA"}),
    frozenset({"OP", "OPM", "XC", "SC"}),
)
COLOURS = ("red", "green", "blue")
# Values so many times over white are of another scale, not of a bright picture.
OVER_WHITE = 1.25
WORDS = {2: "an image", 3: "a volume", 4: "a series of volumes"}
TO_GIVE = {
    3: "give a NIfTI volume or the folder of a DICOM series",
    4: "give a 4-D NIfTI series",
}


def named(scan: Scan, modality: str | None) -> Scan:
    """The scan as of the modality that the user says.

    Raises:
      UserError: the file says another, or holds greys and the user says that they are HU.
    """
    own = scan.modality
    if modality is None or modality == own:
        return scan
    if own not in UNKNOWN and "CT" in (own, modality):
        raise UserError(
            f"{scan.source}: the file says that it is {own}, so --modality {modality} cannot be "
            "right; give a file of that modality"
        )
    greys = scan.header.get("format") == PICTURE and np.dtype(scan.header["dtype"]).kind == "u"
    if modality == "CT" and greys:
        raise UserError(
            f"{scan.source}: a picture's greys are no HU; say with --window LOW HIGH which HU its "
            "black and white show"
        )
    return with_modality(scan, modality)


def in_grey(scan: Scan, task: Task) -> tuple[Scan, tuple[Remark, ...]]:
    """The one channel of a colour image that the task is about; a scan without colour as it is.

    A grey picture that is stored in colours is grey.

    Raises:
      UserError: the task knows no channel.
    """
    if "c" not in scan.axes:
        return scan, ()
    array, axes = scan.array, scan.axes.rstrip("c")
    if (array == array[..., :1]).all():
        return scan.replace(array=np.ascontiguousarray(array[..., 0]), axes=axes), ()
    channel = task.colour_channel
    if channel is None:
        raise UserError(
            f"{scan.source}: is a colour image, and this network restores grey ones; give a grey "
            "image (a colour overlay hides the values under it)"
        )
    name = COLOURS[channel]
    remark = Remark(
        f"{scan.source}: only its {name} channel is restored, the one that this network learned "
        "from; the result is grey",
        f"{name} channel",
    )
    return scan.replace(array=np.ascontiguousarray(array[..., channel]), axes=axes), (remark,)


def check(scan: Scan, task: Task, seen: Seen) -> None:
    """Raises UserError where the task cannot restore the scan, saying what to give instead."""
    source = scan.source
    if scan.unit != task.unit:
        raise UserError(_other_unit(scan, task, seen))
    if not _alike(scan.modality, seen.modality):
        raise UserError(
            f"{source}: is {scan.modality}, and this network learned from {seen.modality}; "
            f"if it shows the same nevertheless, say --modality {seen.modality}"
        )
    has = scan.array.ndim
    if task.dims > 2 and (scan.space != "zyx" or (task.dims == 4 and "t" not in scan.axes)):
        what = "a series of images" if "t" in scan.axes else WORDS[min(has, 4)]
        raise UserError(
            f"{source}: is {what}; this network restores {WORDS[task.dims]}: {TO_GIVE[task.dims]}"
        )
    inside = scan.array if scan.valid is None else scan.array[scan.valid]
    if not inside.size or inside.min() == inside.max():
        raise UserError(f"{source}: all its values are equal, so it shows nothing to restore")
    # Only where no `normalise` brings arbitrary values to the task's.
    if not task.unit and _as_it_is(task) and inside.max() > OVER_WHITE * task.display[1]:
        white = task.display[1]
        raise UserError(
            f"{source}: has values up to {inside.max():g} where this network takes {white:g} for "
            "white; scale them, or give a PNG or TIFF picture"
        )


def check_target(target: Path, scan: Scan, window: tuple[float, float] | None) -> None:
    """Raises UserError where the output's kind of file cannot hold the result.

    Asked before the restoration, which may take long; `write_scan` has the last word.
    """
    kind = extension(target)
    own = scan.header.get("format")
    if kind and kind not in (*READERS, *DICOM_EXTENSIONS) and not target.is_dir():
        raise UserError(
            f"{target}: unknown kind of file {kind!r}; give .dcm, .nii.gz, .png, .tif or .npz, or "
            "a folder without a dot in its name"
        )
    if kind in DICOM_EXTENSIONS and own != DICOM:
        raise UserError(
            f"{target}: only scans read from DICOM can be written as DICOM; write .nii.gz instead"
        )
    if kind not in PICTURES or kind in TIFF:
        return
    if scan.axes != "yx":
        raise UserError(
            f"{target}: one picture cannot hold {WORDS[min(scan.array.ndim, 4)]}; "
            "write .nii.gz or .tif instead"
        )
    if own != PICTURE and window is None:
        example = "-160 240" if scan.unit == "HU" else "0 1000"
        raise UserError(
            f"{target}: a picture needs to know which values are black and white; say --window LOW "
            f"HIGH (e.g. {example}), or write .nii.gz instead"
        )


def _other_unit(scan: Scan, task: Task, seen: Seen) -> str:
    if not task.unit:
        wanted = seen.modality or "scans in arbitrary units"
        return f"{scan.source}: its values are {scan.unit}; this network restores {wanted}"
    unknown = f"{scan.source}: its values are not {task.unit} as far as the file says"
    if scan.modality not in UNKNOWN:
        return f"{unknown} (it is {scan.modality}); this network restores CT alone"
    if full_scale(scan) is None:
        return f"{unknown}; say --modality CT if they are"
    return f"{unknown}; say --window LOW HIGH for the {task.unit} of the picture's black and white"


def greys_of(
    scan: Scan, task: Task, window: tuple[float, float] | None
) -> tuple[float, float] | None:
    """The values that a picture's black and white stand for; None for what is no picture.

    Where the user does not say and the task's values are those of pictures, they are the task's:
    pictures of 16 bits are then no brighter than those of 8.
    """
    if full_scale(scan) is None:
        return None
    if window is None and not task.unit and _as_it_is(task):
        return task.display
    return window


def _as_it_is(task: Task) -> bool:
    return type(task).normalise is Task.normalise


def _alike(one: str, other: str) -> bool:
    if one in UNKNOWN or other in UNKNOWN or one == other:
        return True
    return any(one in codes and other in codes for codes in ALIKE)
