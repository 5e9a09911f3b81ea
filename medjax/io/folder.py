"""Every scan below a folder: DICOM files sorted into volumes, other files one by one."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from medjax.errors import UserError
from medjax.io import arrays, nifti, picture
from medjax.io.common import ct_valid, extension, quiet, stem
from medjax.io.dicom import read_file, read_series, require_plain, stack_of
from medjax.io.dicom_file import (
    NoImageError,
    attribute,
    frames_of,
    is_dicom,
    open_dicom,
    subject_of,
)
from medjax.io.dicom_frames import Frame, frames, stacks
from medjax.scan import Scan

READERS = {
    **dict.fromkeys(nifti.EXTENSIONS, nifti.read_nifti),
    **dict.fromkeys(picture.EXTENSIONS, picture.read_picture),
    **dict.fromkeys(arrays.EXTENSIONS, arrays.read_arrays),
}
DICOM_EXTENSIONS = (".dcm", ".dicom", ".ima")


@dataclasses.dataclass(frozen=True)
class ScanRef:
    """A scan found in a folder and not read yet.

    Attributes:
      paths: its file, or the files of its series in no particular order.
      subject: as in `Scan`.
      modality: overrides what the file says (or does not); None: as the file says.
    """

    paths: tuple[Path, ...]
    subject: str
    modality: str | None = None

    @property
    def source(self) -> Path:
        """The file, or the folder of a series."""
        return self.paths[0] if len(self.paths) == 1 else self.paths[0].parent

    def read(self) -> Scan:
        """Reads it. Raises UserError where the file turns out to be damaged."""
        if len(self.paths) > 1:
            return with_modality(read_series(self.paths, self.source), self.modality)
        return with_modality(read_one(self.source), self.modality)


@dataclasses.dataclass(frozen=True)
class FolderContents:
    """The scans below a folder, and one line about each file that cannot be used."""

    scans: tuple[ScanRef, ...]
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Header:
    """What sorting needs of one DICOM file."""

    path: Path
    series: str
    subject: str
    multiframe: bool
    frame: Frame


def read_one(path: Path) -> Scan:
    """One file, by its extension; DICOM where the extension says nothing.

    Raises:
      UserError: missing, damaged or unknown.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    kind = extension(path)
    reader = READERS.get(kind)
    if reader is not None:
        return reader(path)
    if kind in DICOM_EXTENSIONS or is_dicom(path) or not kind:
        return read_file(path)
    raise UserError(
        f"{path}: unknown kind of file; give DICOM, NIfTI, PNG, JPEG, TIFF, .npz or .npy"
    )


def read_one_series(folder: Path) -> Scan:
    """The only DICOM series of a folder.

    Raises:
      UserError: no DICOM files, a bad one, or more than one series or volume.
    """
    files = [path for path in _files(folder) if path.parent == folder]
    headers, problems = _headers([path for path in files if _may_be_dicom(path)])
    if not headers:
        hint = problems[0] if problems else f"{folder}: no DICOM file in it; name a file"
        raise UserError(hint)
    if problems:
        raise UserError(problems[0])
    names = {header.series for header in headers}
    if len(names) > 1:
        raise UserError(
            f"{folder}: {len(names)} DICOM series in one folder; give each a folder of its own"
        )
    if len(headers) == 1:
        return read_file(headers[0].path)
    if any(header.multiframe or not header.frame.placed for header in headers):
        raise UserError(
            f"{folder}: {len(headers)} separate images or cine loops, not one volume; name one file"
        )
    stack_of([header.frame for header in headers], folder)
    return read_series([header.path for header in headers], folder)


def read_folder(path: Path, modality: str | None = None) -> FolderContents:
    """Finds every scan below a folder; a bad file is reported and the rest goes on.

    DICOM files are sorted by series, and a series by size, direction and contrast, so that a scout
    image or a second echo becomes a scan of its own. Only headers are read: pixels that turn out
    to be damaged raise UserError in `ScanRef.read`. Files of other kinds (texts, tables, DICOM
    reports) are passed over.

    Args:
      path: the folder; a single file is taken as a folder of one.
      modality: what all scans are, where their files do not say ("CT" makes the unit "HU").

    Raises:
      UserError: the folder does not exist or holds nothing that can be read.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    files = _files(path) if path.is_dir() else [path]
    others = [file for file in files if extension(file) in READERS]
    headers, problems = _headers([file for file in files if _may_be_dicom(file)])
    refs = [ScanRef((file,), stem(file), modality) for file in others]
    for ref in _series(headers, modality, problems):
        refs.append(ref)
    if not refs and not problems:
        raise UserError(f"{path}: no scan in it (DICOM, NIfTI, PNG, JPEG, TIFF, .npz or .npy)")
    return FolderContents(tuple(sorted(refs, key=lambda ref: ref.paths)), tuple(problems))


def with_modality(scan: Scan, modality: str | None) -> Scan:
    """The scan with the modality that the caller knows; CT makes the unit "HU"."""
    if modality is None or modality == scan.modality:
        return scan
    if modality != "CT":
        return scan.replace(modality=modality, unit="")
    valid = scan.valid
    if valid is None and not scan.axes.endswith("c"):
        valid = ct_valid(scan.array)
        valid = None if valid.all() else valid
    return scan.replace(modality=modality, unit="HU", valid=valid)


def _files(folder: Path) -> list[Path]:
    """Files below a folder in a fixed order, hidden ones and those of macOS archives left out."""
    found = (
        path
        for path in folder.rglob("*")
        if not any(
            part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts
        )
    )
    return sorted(path for path in found if path.is_file())


def _may_be_dicom(path: Path) -> bool:
    kind = extension(path)
    return kind in DICOM_EXTENSIONS or (kind not in READERS and is_dicom(path))


def _headers(files: Sequence[Path]) -> tuple[list[Header], list[str]]:
    headers: list[Header] = []
    problems: list[str] = []
    for path in files:
        try:
            headers.append(_header(path))
        except NoImageError:
            continue
        except UserError as error:
            problems.append(str(error))
    return headers, problems


def _header(path: Path) -> Header:
    ds = open_dicom(path, pixels=False)
    require_plain(ds, path)
    with quiet():
        return Header(
            path=path,
            series=str(attribute(ds, "SeriesInstanceUID") or ""),
            subject=subject_of(ds, path),
            multiframe=frames_of(ds) > 1 or "PerFrameFunctionalGroupsSequence" in ds,
            frame=frames(ds)[0],
        )


def _series(
    headers: Sequence[Header], modality: str | None, problems: list[str]
) -> Iterator[ScanRef]:
    series: dict[str, list[Header]] = {}
    for header in headers:
        if header.multiframe or not header.series:
            yield ScanRef((header.path,), header.subject, modality)
        else:
            series.setdefault(header.series, []).append(header)
    for members in series.values():
        found = [member.frame for member in members]
        for part in stacks(found):
            paths = tuple(members[index].path for index in part)
            try:
                stack_of([found[index] for index in part], paths[0].parent)
            except UserError as error:
                problems.append(str(error))
                continue
            yield ScanRef(paths, members[part[0]].subject, modality)
