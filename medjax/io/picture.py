"""PNG, JPEG and TIFF to Scan and back: 8 or 16 bits, grey or colour, TIFF pages as slices."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Num
from PIL import Image, ImageOps, UnidentifiedImageError

from medjax.errors import UserError
from medjax.io.common import quiet, require_finite, stem
from medjax.scan import Scan

FORMAT = "picture"
TIFF = (".tif", ".tiff")
EXTENSIONS = (".png", ".jpg", ".jpeg", *TIFF)
# What page axes mean to us; tifffile calls unnamed ones I or Q, and colour samples S.
TIFF_AXES = {"YX": "yx", "YXS": "yxc", "ZYX": "zyx", "ZYXS": "zyxc", "TYX": "tyx", "TYXS": "tyxc"}
TIFF_AXES |= {"TZYX": "tzyx", "IYX": "zyx", "QYX": "zyx", "IYXS": "zyxc", "QYXS": "zyxc"}
BROKEN = (
    Image.DecompressionBombError,
    SyntaxError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    struct.error,
    imagecodecs.DelayedImportError,
)


def read_picture(path: Path) -> Scan:
    """One picture. Values are as stored; pixels have no size in millimetres; modality is "OT".

    Opaque alpha is dropped; where alpha is 0, `valid` is False.

    Raises:
      UserError: damaged, truncated, or of a kind that would lose values (CMYK, odd TIFF axes).
    """
    try:
        with quiet():
            stored, axes = _tiff(path) if path.suffix.lower() in TIFF else _flat(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: not a picture, whatever its name; give PNG, JPEG or TIFF"
        ) from None
    except BROKEN as error:
        raise UserError(
            f"{path}: damaged or truncated picture ({type(error).__name__}); copy it again"
        ) from error
    stored, alpha, axes = _without_alpha(stored, axes, path)
    if stored.dtype.kind not in "iufb":
        raise UserError(f"{path}: values are {stored.dtype}; save them as integers or floats")
    require_finite(stored, path)
    return Scan(
        array=stored.astype(np.float32),
        axes=axes,
        spacing=None,
        affine=None,
        modality="OT",
        unit="",
        source=path,
        subject=stem(path),
        valid=None if alpha is None or alpha.all() else alpha > 0,
        header={"format": FORMAT, "dtype": stored.dtype, "alpha": alpha},
    )


def full_scale(scan: Scan) -> int | None:
    """The grey that a picture of whole numbers shows white; None for any other scan."""
    if scan.header.get("format") != FORMAT or np.dtype(scan.header["dtype"]).kind not in "iu":
        return None
    return int(np.iinfo(scan.header["dtype"]).max)


def _flat(path: Path) -> tuple[Num[np.ndarray, "y x ..."], str]:
    with path.open("rb") as file:
        start = file.read(26)
    with Image.open(path) as image:
        if image.format == "PNG" and len(start) == 26 and start[24] == 16:
            # Pillow silently cuts 16-bit colour and grey with alpha to 8 bits.
            image.verify()
            stored = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        else:
            image.load()
            stored = np.asarray(_plain(ImageOps.exif_transpose(image), path))
    return stored, "yx" if stored.ndim == 2 else "yxc"


def _plain(image: Any, path: Path) -> Any:
    if image.mode in ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F"):
        return image
    if image.mode in ("1", "P", "PA"):
        grey = image.mode == "1" or not image.palette or image.palette.mode == "L"
        clear = "transparency" in image.info or image.mode == "PA"
        return image.convert("L" if grey else "RGBA" if clear else "RGB")
    if image.mode == "YCbCr":
        return image.convert("RGB")
    raise UserError(f"{path}: {image.mode} picture; save it as grey or RGB")


def _tiff(path: Path) -> tuple[Num[np.ndarray, "..."], str]:
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.series) != 1:
            raise UserError(
                f"{path}: holds {len(tiff.series)} pictures of different sizes; split the file"
            )
        series = tiff.series[0]
        page = tiff.pages.first
        axes = TIFF_AXES.get(series.axes)
        if axes is None:
            raise UserError(
                f"{path}: TIFF axes {series.axes}; only pages of grey or RGB pixels can be read"
            )
        stored = series.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return np.moveaxis(np.asarray(page.colormap)[:, stored], 0, -1), axes + "c"
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and stored.dtype.kind == "u":
            stored = np.iinfo(stored.dtype).max - stored
    return stored, axes


def _without_alpha(
    stored: Num[np.ndarray, "..."], axes: str, path: Path
) -> tuple[Num[np.ndarray, "..."], Num[np.ndarray, "..."] | None, str]:
    if not axes.endswith("c") or stored.shape[-1] == 3:
        return stored, None, axes
    channels = stored.shape[-1]
    if channels not in (1, 2, 4):
        raise UserError(f"{path}: {channels} colour channels; save it as grey or RGB")
    alpha = stored[..., -1] if channels > 1 else None
    if channels == 4:
        return stored[..., :3], alpha, axes
    return stored[..., 0], alpha, axes[:-1]
