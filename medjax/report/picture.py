"""From physical values to 8-bit pictures: window, difference, uncertainty, montage, PNG.

Nothing here picks a window by looking at the pixels: the caller states it, so two pictures
of one report can be compared.
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from medjax.io.common import atomic

Stops = tuple[tuple[float, tuple[int, int, int]], ...]

# Dark where restored equals reference, so that the eye goes to what differs; blue and orange
# stay apart for colour-blind readers.
DIVERGING: Stops = (
    (-1.0, (190, 230, 255)),
    (-0.5, (43, 127, 214)),
    (0.0, (12, 12, 14)),
    (0.5, (214, 93, 24)),
    (1.0, (255, 226, 170)),
)
SEQUENTIAL: Stops = (
    (0.0, (12, 12, 14)),
    (0.33, (91, 30, 112)),
    (0.67, (222, 83, 73)),
    (1.0, (252, 235, 160)),
)
_LEVELS = 254
NOT_FINITE = (255, 0, 255)
"""Colour of NaN and infinities: no window gives it, so a broken restoration cannot hide."""


@dataclasses.dataclass(frozen=True)
class Window:
    """The range of values that a picture shows from black to white.

    Attributes:
      low: shown black, with all below.
      high: shown white, with all above.
      unit: "HU", or "" where values are arbitrary.

    Raises:
      ValueError: not finite, or low is not below high.
    """

    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"window from {self.low} to {self.high}")

    @property
    def width(self) -> float:
        """High less low."""
        return self.high - self.low

    @property
    def level(self) -> float:
        """The value shown mid-grey."""
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"window {number(self.low)} to {number(self.high)}{unit}"
            f" (level {number(self.level)}, width {number(self.width)})"
        )


def number(value: float) -> str:
    """Up to four significant digits, a real minus sign, no trailing zeros."""
    return f"{value:.4g}".replace("-", "−")


def window(
    array: Float[np.ndarray, "*shape"], low: float, high: float
) -> UInt8[np.ndarray, "*shape"]:
    """Greys round(255 (array - low) / (high - low)), clipped to 0..255; NaN is 0.

    Raises:
      ValueError: not low < high.
    """
    if not low < high:
        raise ValueError(f"window from {low} to {high}")
    scaled = (np.asarray(array, np.float64) - low) / (high - low)
    grey = np.rint(255 * np.clip(scaled, 0, 1))
    return np.where(np.isnan(grey), 0, grey).astype(np.uint8)


def difference(
    restored: Float[np.ndarray, "*shape"], reference: Float[np.ndarray, "*shape"], scale: float
) -> UInt8[np.ndarray, "*shape 3"]:
    """Restored less reference in colour: -scale light blue, 0 black, +scale light orange.

    Raises:
      ValueError: the shapes differ, or scale is not positive.
    """
    if restored.shape != reference.shape:
        raise ValueError(f"shapes {restored.shape} and {reference.shape}")
    if not scale > 0:
        raise ValueError(f"scale {scale}")
    # float64: HU of float32 volumes subtract without a second rounding.
    return colour((restored.astype(np.float64) - reference) / scale, DIVERGING)


def uncertainty(array: Float[np.ndarray, "*shape"], scale: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Standard deviations in colour: 0 black, `scale` and above light yellow.

    Raises:
      ValueError: scale is not positive.
    """
    if not scale > 0:
        raise ValueError(f"scale {scale}")
    return colour(np.asarray(array, np.float64) / scale, SEQUENTIAL)


def colour(values: Float[np.ndarray, "*shape"], stops: Stops) -> UInt8[np.ndarray, "*shape 3"]:
    """Piecewise linear colours through `stops`, clipped at both ends; `NOT_FINITE` for NaN.

    At most 255 different ones, so that a PNG keeps them as a palette, a third of the bytes.
    """
    at = [s for s, _ in stops]
    levels = _LEVELS / (at[-1] - at[0])
    grid = np.arange(np.rint(at[0] * levels), np.rint(at[-1] * levels) + 1)
    table = [np.interp(grid / levels, at, [c[k] for _, c in stops]) for k in range(3)]
    palette = np.rint([*np.stack(table, axis=-1), NOT_FINITE]).astype(np.uint8)
    known = ~np.isnan(values)
    index = np.rint(np.clip(np.where(known, values, at[0]), at[0], at[-1]) * levels) - grid[0]
    return palette[np.where(known, index, -1).astype(int)]


def montage(
    pictures: Sequence[UInt8[np.ndarray, "..."]],
    *,
    labels: Sequence[str] = (),
    columns: int = 4,
    gap: int = 4,
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of one size [row, column] or [row, column, 3] in a grid, each under its label.

    Raises:
      ValueError: no pictures, pictures of different sizes, or as many labels as neither 0 nor all.
    """
    tiles = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=-1) for p in pictures]
    if not tiles or len({t.shape for t in tiles}) != 1:
        raise ValueError(f"pictures of shapes {[p.shape for p in pictures]}")
    if labels and len(labels) != len(tiles):
        raise ValueError(f"{len(labels)} labels for {len(tiles)} pictures")
    height, width, _ = tiles[0].shape
    size = max(10, width // 20)
    font = ImageFont.load_default(size=size)
    head = int(1.6 * size) if labels else 0
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    whole = (columns * (width + gap) - gap, rows * (head + height + gap) - gap)
    sheet = Image.new("RGB", whole, (0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    for i, tile in enumerate(tiles):
        x, y = i % columns * (width + gap), i // columns * (head + height + gap)
        if labels:
            draw.text((x + 2, y + head // 8), labels[i], fill=(255, 255, 255), font=font)
        sheet.paste(Image.fromarray(tile), (x, y + head))
    return np.asarray(sheet)


def png_bytes(picture: UInt8[np.ndarray, "..."]) -> bytes:
    """A PNG file of [row, column] greys or [row, column, 3] colours, without any metadata.

    Raises:
      ValueError: another shape or dtype.
    """
    if picture.dtype != np.uint8 or not (
        picture.ndim == 2 or (picture.ndim == 3 and picture.shape[-1] == 3)
    ):
        raise ValueError(f"{picture.dtype} picture of shape {picture.shape}")
    stream = io.BytesIO()
    _image(picture).save(stream, format="PNG", compress_level=9)
    return stream.getvalue()


def _image(picture: UInt8[np.ndarray, "..."]) -> Image.Image:
    if picture.ndim == 2:
        return Image.fromarray(picture)
    codes = picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(codes, return_inverse=True)
    if colours.size > 256:
        return Image.fromarray(picture)
    image = Image.fromarray(index.reshape(codes.shape).astype(np.uint8))
    image.putpalette(
        np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8).tobytes()
    )
    return image


def write_png(path: Path, picture: UInt8[np.ndarray, "..."]) -> None:
    """Writes `png_bytes(picture)`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(png_bytes(picture))
