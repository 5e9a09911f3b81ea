"""Values for the browser: 16-bit codes, compressed, so that its window sliders have real data.

A PNG holds 8 bits at one window. Beside it the report keeps every picture as codes of 16 bits,
value = low + step (code - 1), code 0 for what is not finite; each row less the row above it,
folded to small unsigned numbers, low bytes then high bytes, deflate, base64. `static/pixels.js`
undoes it with the browser's own DecompressionStream; `unpack` is the same in Python.
"""

import base64
import dataclasses
import zlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Shaped, UInt16

from medjax.report.picture import Window
from medjax.report.plot import nice

_LAST = 65535


@dataclasses.dataclass(frozen=True)
class Codes:
    """How values become codes.

    Attributes:
      low: the value of code 1; lower values are stored as it.
      step: from one code to the next.
      count: codes in use, code 0 included.
    """

    low: float
    step: float
    count: int

    @property
    def high(self) -> float:
        """The value of the last code; higher values are stored as it."""
        return self.low + self.step * (self.count - 2)

    def encode(self, values: Float[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
        """Values to the nearest codes."""
        finite = np.isfinite(values)
        exact = (np.where(finite, values, self.low).astype(np.float64) - self.low) / self.step
        codes = np.clip(np.rint(exact) + 1, 1, self.count - 1)
        return np.where(finite, codes, 0).astype(np.uint16)

    def decode(self, codes: UInt16[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Codes to values, NaN for code 0."""
        values = self.low + self.step * (codes.astype(np.float64) - 1)
        return np.where(codes == 0, np.nan, values)


def codes_for(arrays: Iterable[Float[np.ndarray, "..."]], shown: Window) -> Codes:
    """Codes over the range of all arrays, in steps of at most a 512th of the window and 1 HU.

    The range ends 50 window widths from the window; steps widen before codes run out.
    """
    extremes = [(a[f].min(), a[f].max()) for a in arrays if (f := np.isfinite(a)).any()]
    least = min((float(lo) for lo, _ in extremes), default=shown.low)
    most = max((float(hi) for _, hi in extremes), default=shown.high)
    low = max(min(least, shown.low), shown.low - 50 * shown.width)
    high = min(max(most, shown.high), shown.high + 50 * shown.width)
    step = nice(shown.width / 512)
    if shown.unit == "HU":
        step = min(step, 1.0)
    step = max(step, nice((high - low) / (_LAST - 3)))
    low = step * np.floor(low / step)
    return Codes(float(low), float(step), int(np.ceil((high - low) / step)) + 2)


def pack(codes: UInt16[np.ndarray, "slice row column *c"]) -> str:
    """Base64 text of the compressed codes; colours become pictures one after the other."""
    # int32: differences of uint16 need 17 bits before they wrap.
    planar = np.moveaxis(codes, -1, 1) if codes.ndim == 4 else codes
    delta = np.diff(planar.astype(np.int32), axis=-2, prepend=0).astype(np.int16).astype(np.int32)
    folded = ((delta << 1) ^ (delta >> 15)).astype(np.uint16)
    halves = (folded & 255).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    return base64.b64encode(zlib.compress(halves, 9)).decode("ascii")


def unpack(text: str, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    """The inverse of `pack`; `shape` as the codes had it."""
    halves = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    low, high = halves.reshape(2, -1).astype(np.uint16)
    folded = low | (high << 8)
    delta = (folded >> 1) ^ (-(folded & 1).astype(np.int32)).astype(np.uint16)
    planar = shape if len(shape) == 3 else (shape[0], shape[3], *shape[1:3])
    codes = np.cumsum(delta.reshape(planar), axis=-2, dtype=np.uint16)
    return np.moveaxis(codes, 1, -1) if len(shape) == 4 else codes
