"""Patches cut again from what belongs to a scan, where the pipeline cut those of the scan."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32


def cut(
    volume: Float32[np.ndarray, "*space"], corner: Sequence[int], patch: Sequence[int]
) -> Float32[np.ndarray, "*patch"]:
    """A patch of a volume, continued by reflection where it is smaller, as the pipeline does."""
    before = [max(0, -c) for c in corner]
    after = [max(0, c + p - n) for c, p, n in zip(corner, patch, volume.shape, strict=True)]
    if any(before) or any(after):
        volume = np.pad(volume, list(zip(before, after, strict=True)), mode="reflect")
    starts = (c + b for c, b in zip(corner, before, strict=True))
    return volume[tuple(slice(s, s + p) for s, p in zip(starts, patch, strict=True))]
