"""What all readers and writers share: names, quiet libraries, padding of CT, atomic files."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num

from medjax.errors import UserError

CORNER_HU = -1050.0
"""A slice's corner filled by one value below this is padding: scanners' floors lie at -1024."""
NEVER_HU = -2000.0
"""At and below this not even noise around air (-1000) explains a value."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the warnings and logs of file libraries, whose texts may quote patient data."""
    pydicom = logging.getLogger("pydicom")
    level = pydicom.level
    pydicom.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        pydicom.setLevel(level)


def stem(path: Path) -> str:
    """The file's name without its extension, `.nii.gz` counted as one.

    DICOM files are often named by a bare UID; what follows its last dot is no extension.
    """
    if path.suffix[1:].isdigit():
        return path.name
    return path.name[: -len(extension(path))] if extension(path) else path.name


def extension(path: Path) -> str:
    """The extension in lower case, `.nii.gz` counted as one, "" where there is none."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def pseudonym(*parts: str) -> str:
    """Twelve hex digits that stand for a patient.

    The same person gets the same key in every scan. It keeps identifiers out of logs and tables;
    it does not withstand somebody who can try all identifiers of a hospital.
    """
    text = "\x1f".join(("medjax subject", *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def require_finite(values: Num[np.ndarray, "..."], path: Path) -> None:
    """Raises UserError where any value is NaN or infinite."""
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise UserError(
            f"{path}: {bad} of {values.size} values are NaN or infinite; replace them "
            "(by the background value, say) and save the file again"
        )


def ct_valid(
    hu: Num[np.ndarray, "*frames y x"], *, corners: bool = True
) -> Bool[np.ndarray, "*frames y x"]:
    """False where CT values are padding around the reconstruction circle, told by value alone.

    Padding is one value below -1050 HU that fills a corner of its slice (`corners`, for files
    that name no padding value), or anything from -2000 HU down. Single noisy pixels of air below
    -1024 HU stay valid.
    """
    valid = hu > NEVER_HU
    for index in np.ndindex(hu.shape[:-2] if corners else (0,)):
        frame = hu[index]
        blocks = (frame[:3, :3], frame[:3, -3:], frame[-3:, :3], frame[-3:, -3:])
        for block in blocks:
            value = block[0, 0]
            if value < CORNER_HU and np.all(block == value):
                valid[index] &= frame != value
    return valid


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, renamed to `path` when the block succeeds.

    The temporary name ends like `path`, because libraries choose the format by extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".medjax-", suffix=extension(path), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming_full_disk(path):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """What fails inside because a disk is full becomes an OSError that names `path`.

    Python knows no name where a write fails, and TensorStore raises a ValueError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise
    except ValueError as error:
        for number in _FULL:
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to `path` (absent or empty) on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".medjax-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_output(path: Path, sources: tuple[Path, ...]) -> None:
    """Raises UserError where writing to `path` would touch one of the files that were read."""
    target = path.resolve()
    for source in sources:
        original = source.resolve()
        if target == original or (path.exists() and source.exists() and path.samefile(source)):
            raise UserError(
                f"{path}: this is the scan that was read, and inputs are never overwritten; "
                "name another output"
            )
