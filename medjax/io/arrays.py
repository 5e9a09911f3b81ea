"""NumPy's .npz and .npy to Scan and back."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medjax.errors import UserError
from medjax.io.common import atomic, extension, require_finite, stem
from medjax.scan import AXES, Scan

FORMAT = "arrays"
EXTENSIONS = (".npz", ".npy")
FIELDS = ("spacing", "affine", "modality", "unit", "axes", "valid", "time_step", "subject")
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError)


def read_arrays(path: Path) -> Scan:
    """The array "image" of an .npz file (or its only array), or the array of an .npy file.

    An .npz file may name "spacing", "affine", "modality", "unit", "axes", "valid", "time_step" and
    "subject" too, as in `Scan`. Without "axes", 2-D is "yx", 3-D "zyx", 4-D "tzyx".

    Raises:
      UserError: damaged, several arrays and none called "image", complex or non-finite values.
    """
    try:
        found = _load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except BROKEN as error:
        raise UserError(
            f"{path}: damaged NumPy file or one with Python objects ({type(error).__name__}); "
            "save plain arrays again"
        ) from error
    fields = {name: found.pop(name) for name in FIELDS if name in found}
    if "image" not in found and len(found) != 1:
        raise UserError(
            f"{path}: holds {len(found)} arrays ({', '.join(sorted(found)[:6])}); "
            "name the scan 'image'"
        )
    image = found["image"] if "image" in found else next(iter(found.values()))
    if image.dtype.kind not in "iufb":
        raise UserError(f"{path}: values are {image.dtype}; only real numbers are a scan")
    require_finite(image, path)
    axes = str(fields.get("axes", {2: "yx", 3: "zyx", 4: "tzyx"}.get(image.ndim, "")))
    if axes not in AXES or len(axes) != image.ndim:
        raise UserError(
            f"{path}: array of {image.ndim} axes called {axes!r}; "
            f"name 'axes' as one of {', '.join(sorted(AXES))}"
        )
    return _scan(path, image, axes, fields)


def _load(path: Path) -> dict[str, np.ndarray]:
    # NumPy leaves a file that it opened itself open when it is damaged.
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"image": loaded}
        return {name: loaded[name] for name in loaded.files}


def _scan(path: Path, image: np.ndarray, axes: str, fields: dict[str, Any]) -> Scan:
    space = sum(axis in "zyx" for axis in axes)
    for name, shape in (("spacing", (space,)), ("affine", (4, 4)), ("time_step", ())):
        if name in fields and fields[name].shape != shape:
            raise UserError(
                f"{path}: {name!r} has shape {fields[name].shape}, expected {shape}; save it again"
            )
    mask = fields.get("valid")
    if mask is not None and mask.shape != image.shape[: len(axes.rstrip("c"))]:
        raise UserError(f"{path}: 'valid' has shape {mask.shape}, unlike the image; save it again")
    return Scan(
        array=image.astype(np.float32),
        axes=axes,
        spacing=tuple(map(float, fields["spacing"])) if "spacing" in fields else None,
        affine=fields["affine"].astype(np.float32) if "affine" in fields else None,
        modality=str(fields.get("modality", "OT")),
        unit=str(fields.get("unit", "")),
        source=path,
        subject=str(fields.get("subject", stem(path))),
        valid=None if mask is None else mask.astype(bool),
        time_step=float(fields["time_step"]) if "time_step" in fields else None,
        header={"format": FORMAT, "dtype": image.dtype},
    )


def write_arrays(restored: Scan, path: Path) -> tuple[Path, ...]:
    """Writes .npz with all that `read_arrays` understands, or .npy with the array alone.

    Raises:
      UserError: values that are not finite.
    """
    require_finite(restored.array, path)
    with atomic(path) as temporary, temporary.open("wb") as file:
        if extension(path) == ".npy":
            np.save(file, restored.array)
        else:
            known = {name: getattr(restored, name) for name in FIELDS}
            fields = {name: value for name, value in known.items() if value is not None}
            np.savez_compressed(file, image=restored.array, **fields)
    return (path,)
