"""Slices brought to a square grid of a fixed number of pixels, by area."""

import numpy as np
from jaxtyping import Float32


def square(
    image: Float32[np.ndarray, "*lead rows columns"], fill: float
) -> Float32[np.ndarray, "*lead side side"]:
    """The image in the middle of a square as large as its longer side, `fill` around it."""
    side = max(image.shape[-2:])
    pads = [((side - n) // 2, side - n - (side - n) // 2) for n in image.shape[-2:]]
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + pads, constant_values=fill)


def regrid(
    image: Float32[np.ndarray, "*lead side side"], size: int
) -> Float32[np.ndarray, "*lead size size"]:
    """A square image as `size` by `size` pixels over the same area.

    Each new pixel is the mean of what it covers, so noise and detail finer than the new grid do
    not fold back, and the mean is kept. Finer grids repeat.
    """
    weight = _overlap(image.shape[-1], size)
    return np.einsum("ij,...jk,lk->...il", weight, image, weight, optimize=True)


def _overlap(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """How much of each new pixel each old one covers; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)[None, :]
    covered = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return (np.maximum(covered, 0) * (new / old)).astype(np.float32)
