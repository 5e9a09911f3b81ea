"""Pictures of physical values: what black and white stand for, there and back."""

import numpy as np
from jaxtyping import Float32

from medjax.errors import UserError
from medjax.io.picture import full_scale
from medjax.scan import Scan

Window = tuple[float, float]
"""The values that black and white stand for."""


def check_window(window: Window | None) -> None:
    """Raises UserError unless white is above black."""
    if window is not None and not window[0] < window[1]:
        raise UserError(f"--window {window[0]:g} {window[1]:g}: the second must be the larger one")


def from_grey(scan: Scan, window: Window, modality: str, unit: str) -> Scan:
    """A picture's greys as physical values; a scan that is no picture of whole numbers as it is."""
    white = full_scale(scan)
    if white is None:
        return scan
    low, high = window
    values = scan.array * np.float32((high - low) / white) + np.float32(low)
    return scan.replace(array=values, modality=modality, unit=unit)


def to_grey(
    scan: Scan, values: Float32[np.ndarray, "..."], window: Window
) -> Float32[np.ndarray, "..."]:
    """The inverse of `from_grey` for the picture `scan`, cut at black and white."""
    white = full_scale(scan)
    if white is None:
        raise ValueError(f"{scan.source} is no picture of whole numbers")
    low, high = window
    return np.clip(np.rint((values - low) * (white / (high - low))), 0, white).astype(np.float32)
