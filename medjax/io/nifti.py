"""NIfTI to Scan and back: axes turned to (t,) z, y, x, values scaled, the header kept."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float32
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from medjax.errors import UserError
from medjax.io.common import atomic, quiet, require_finite, stem
from medjax.scan import Scan

FORMAT = "nifti"
EXTENSIONS = (".nii", ".nii.gz")
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
BROKEN = (
    ImageFileError,
    HeaderDataError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
)


def read_nifti(path: Path) -> Scan:
    """One NIfTI file of 2, 3 or 4 axes.

    `affine` is None where neither sform nor qform is set. NIfTI does not say what was measured:
    modality is "OT", unit "".

    Raises:
      UserError: damaged or no NIfTI, NaN or infinite values, complex or RGB values, 5 axes.
    """
    image, values = _load(path)
    header = image.header
    values = _squeezed(values, path)
    require_finite(values, path)
    length, clock = header.get_xyzt_units()
    scale = MILLIMETRES[length]
    axes = {2: "yx", 3: "zyx", 4: "tzyx"}[values.ndim]
    space = min(values.ndim, 3)
    zooms = tuple(float(zoom) * scale for zoom in header.get_zooms()[:space])
    return Scan(
        array=np.ascontiguousarray(values.T),
        axes=axes,
        spacing=zooms[::-1] if all(zoom > 0 for zoom in zooms) else None,
        affine=_affine(image, scale),
        modality="OT",
        unit="",
        source=path,
        subject=stem(path),
        time_step=_time_step(header, clock) if "t" in axes else None,
        header={"format": FORMAT, "image": header.copy(), "shape": image.shape},
    )


def _load(path: Path) -> tuple[Any, Float32[np.ndarray, "..."]]:
    try:
        with quiet():
            image: Any = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
            if not isinstance(image, nib.Nifti1Pair):  # pyright: ignore
                raise UserError(f"{path}: not NIfTI but {type(image).__name__}; convert it first")
            dtype = np.dtype(image.get_data_dtype())
            if dtype.kind not in "iufb":
                raise UserError(
                    f"{path}: values are {dtype}; only real numbers can be read, save them so"
                )
            return image, image.get_fdata(dtype=np.float32, caching="unchanged")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except BROKEN as error:
        raise UserError(
            f"{path}: damaged NIfTI file or none at all ({type(error).__name__}); "
            "convert or copy it again"
        ) from error


def _squeezed(values: Float32[np.ndarray, "..."], path: Path) -> Float32[np.ndarray, "..."]:
    """Without the axes of length 1 that files carry behind x, y and z."""
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if not 2 <= values.ndim <= 4 or not values.size:
        raise UserError(
            f"{path}: shape {values.shape}; only 2-D, 3-D and 4-D scans can be read, split it"
        )
    return values


def _affine(image: Any, scale: float) -> Float32[np.ndarray, "4 4"] | None:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return None
    affine = np.array(image.affine, np.float64)[:, [2, 1, 0, 3]]
    affine[:3] *= scale
    return affine.astype(np.float32)


def _time_step(header: Any, clock: str) -> float | None:
    step = float(header.get_zooms()[3]) * SECONDS.get(clock, 1.0)
    return step if step > 0 and (clock in SECONDS or clock == "unknown") else None


def write_nifti(restored: Scan, path: Path, *, description: str) -> tuple[Path, ...]:
    """Writes .nii or .nii.gz.

    A scan read from NIfTI keeps its header (sform, qform, units, extensions) and, where every value
    survives it, its number type; otherwise values become float32. From other formats the affine
    goes to the sform, and to the qform too unless a gantry tilt shears it.

    Raises:
      UserError: colour, or values that are not finite.
    """
    require_finite(restored.array, path)
    if "c" in restored.axes:
        raise UserError(f"{path}: NIfTI holds no colour here; write .png, .tif or .npz instead")
    own = restored.header if restored.header.get("format") == FORMAT else None
    data = restored.array.T
    if own is not None:
        if data.size != np.prod(own["shape"]):
            raise ValueError(f"array of shape {data.shape} for a scan read as {own['shape']}")
        header = own["image"].copy()
        data = data.reshape(own["shape"])
        data = _as(data, header.get_data_dtype())
        header.set_data_dtype(data.dtype)
        image = _kind(header)(data, None, header)
    else:
        data = data.reshape(
            *data.shape[:2], *([1] if "z" not in restored.axes else []), *data.shape[2:]
        )
        image = nib.Nifti1Image(_as(data, np.dtype(np.int16)), None)  # pyright: ignore
        _place(image, restored)
    image.header["descrip"] = f"medjax {description}".encode("ascii", "replace")[:79]
    with atomic(path) as temporary, quiet():
        nib.save(image, temporary)  # pyright: ignore
    return (path,)


def _kind(header: Any) -> Any:
    wide = isinstance(header, nib.Nifti2Header)  # pyright: ignore
    return nib.Nifti2Image if wide else nib.Nifti1Image  # pyright: ignore


def _as(data: Float32[np.ndarray, "..."], dtype: np.dtype) -> np.ndarray:
    """In `dtype` where no value changes, else in float32."""
    if dtype.kind == "f":
        return data.astype(dtype if dtype.itemsize >= 4 else np.float32)
    limits = np.iinfo(dtype)
    inside = data.min(initial=0) >= limits.min and data.max(initial=0) <= limits.max
    if inside and np.array_equal(data, np.rint(data)) and np.abs(data).max(initial=0) < 2**24:
        return data.astype(dtype)
    return data.astype(np.float32)


def _place(image: Any, scan: Scan) -> None:
    header = image.header
    header.set_xyzt_units("mm", "sec")
    if scan.affine is not None:
        affine = scan.affine.astype(np.float64)[:, [2, 1, 0, 3]]
        axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        square = np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)
        image.set_sform(affine, code=1)
        image.set_qform(affine if square else None, code=1 if square else 0)
    spacing = scan.spacing
    zooms = [1.0] * image.ndim
    if spacing is not None:
        zooms[: len(spacing)] = spacing[::-1]
    elif scan.affine is not None:
        zooms[:3] = np.linalg.norm(scan.affine[:3, 2::-1], axis=0)
    if scan.affine is not None and len(spacing or ()) == 2:
        zooms[2] = float(np.linalg.norm(scan.affine[:3, 0]))
    if scan.time_step is not None and image.ndim == 4:
        zooms[3] = scan.time_step
    header.set_zooms(zooms)
