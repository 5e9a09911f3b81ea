"""Scans from files and back: DICOM, NIfTI, PNG, JPEG, TIFF and NumPy's .npz."""

from pathlib import Path

from medjax.io.folder import (
    FolderContents,
    ScanRef,
    read_folder,
    read_one,
    read_one_series,
    with_modality,
)
from medjax.io.picture import full_scale
from medjax.io.writing import write_scan
from medjax.scan import Scan

__all__ = ["FolderContents", "ScanRef", "full_scale", "read_folder", "read_scan", "write_scan"]


def read_scan(path: Path, modality: str | None = None) -> Scan:
    """Reads one scan: a file, or a folder with the files of exactly one DICOM series.

    Args:
      path: DICOM (also enhanced multi-frame), NIfTI, PNG, JPEG, TIFF, .npz or .npy; or a folder.
      modality: overrides the file's; "CT" says that values are Hounsfield units, which NIfTI and
        pictures cannot say.

    Raises:
      UserError: the file is missing, damaged, no scan, or holds more than one.
    """
    path = Path(path)
    scan = read_one_series(path) if path.is_dir() else read_one(path)
    return with_modality(scan, modality)
