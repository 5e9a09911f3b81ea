"""One entry to all writers: the extension of the output decides, then the source's format."""

from pathlib import Path

from medjax.errors import UserError
from medjax.io import arrays, dicom, nifti, picture
from medjax.io.arrays import write_arrays
from medjax.io.common import extension, require_output, stem
from medjax.io.dicom_write import write_dicom
from medjax.io.folder import DICOM_EXTENSIONS
from medjax.io.nifti import write_nifti
from medjax.io.picture_write import write_picture
from medjax.scan import Scan


def write_scan(
    restored: Scan,
    path: Path,
    *,
    description: str,
    window: tuple[float, float] | None = None,
) -> tuple[Path, ...]:
    """Writes the values of a scan that was read and restored, its geometry unchanged.

    Args:
      restored: what `read_scan` returned, with another `array` of the same shape.
      path: a file, whose extension names the format; or a folder (no extension), into which goes
        the format that was read: all files of a DICOM series, or one file named as the source.
      description: what was done, in a few words; it goes into DICOM's SeriesDescription and the
        like. Keep patient data out of it.
      window: (level, width), for pictures of other scans only.

    Returns:
      The files written.

    Raises:
      UserError: the output is the input, the format cannot hold the values, or `path` names no
        known format.
    """
    path = Path(path)
    source = restored.header.get("source")
    inputs = source.paths if isinstance(source, dicom.Source) else (restored.source,)
    series = isinstance(source, dicom.Source) and len(source.paths) > 1
    kind = extension(path)
    known = (*nifti.EXTENSIONS, *picture.EXTENSIONS, *arrays.EXTENSIONS, *DICOM_EXTENSIONS)
    if kind not in known:
        if kind and not path.is_dir():
            raise UserError(
                f"{path}: unknown kind of file {kind!r}; give .dcm, .nii.gz, .png, .tif or .npz, "
                "or a folder without a dot in its name"
            )
        if series:
            _require_elsewhere(path, inputs)
            return write_dicom(restored, path, description=description)
        path = path / _name(restored)
        kind = extension(path)
    require_output(path, inputs)
    if kind in nifti.EXTENSIONS:
        return write_nifti(restored, path, description=description)
    if kind in picture.EXTENSIONS:
        return write_picture(restored, path, description=description, window=window)
    if kind in arrays.EXTENSIONS:
        return write_arrays(restored, path)
    if series:
        raise UserError(f"{path}: the source is a series of several files; name a folder instead")
    return write_dicom(restored, path, description=description)


def _require_elsewhere(folder: Path, inputs: tuple[Path, ...]) -> None:
    if folder.resolve() in {parent for file in inputs for parent in file.resolve().parents[:1]}:
        raise UserError(
            f"{folder}: this is the folder that was read, and inputs are never overwritten; "
            "name another folder"
        )


def _name(restored: Scan) -> str:
    """The source's name, with an extension of its format."""
    if restored.header.get("format") == dicom.FORMAT:
        return stem(restored.source) + ".dcm"
    kind = extension(restored.source)
    if kind in (".jpg", ".jpeg"):
        # Written as JPEG again, it would lose values a second time.
        kind = ".png"
    known = (*nifti.EXTENSIONS, *picture.EXTENSIONS, *arrays.EXTENSIONS)
    return stem(restored.source) + (kind if kind in known else ".npz")
