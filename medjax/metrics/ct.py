"""What clinicians read off a CT: error and noise in HU, and how sharp its edges are.

On the host and for one case: arrays are `[*space]` in HU without batch and channel, a slice (y, x)
or a volume (z, y, x) whose slices are measured one by one and pooled. Where to measure is decided
on the reference alone (`flat_tissue_mask` here, the edges in `medjax.metrics.sharpness`), so every
method is measured at the same places.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage, stats

from medjax.metrics.sharpness import EdgeWidth, edge_profile, edge_width_mm, mtf, mtf50

__all__ = [
    "EdgeWidth",
    "edge_profile",
    "edge_width_mm",
    "flat_tissue_mask",
    "mtf",
    "mtf50",
    "noise_hu",
    "rmse_hu",
    "tile_variances",
]

Image = Float[np.ndarray, "*space"]

SOFT_TISSUE = (-20.0, 150.0)


def rmse_hu(restored: Image, reference: Image, window: tuple[float, float] | None = None) -> float:
    """Root mean squared error in HU.

    Args:
      restored: the image to judge, HU.
      reference: the image taken as true, HU.
      window: lowest and highest HU; both images are clipped to it first. None: all HU count, and
        air and metal with them.

    Raises:
      ValueError: the shapes differ or the window does not rise.
    """
    a, b = _pair(restored, reference)
    if window is not None:
        low, high = window
        if not low < high:
            raise ValueError(f"window must rise, got {window}")
        a, b = np.clip(a, low, high), np.clip(b, low, high)
    return float(np.sqrt(np.mean(np.square(a - b))))


def flat_tissue_mask(
    reference: Image,
    *,
    hu_range: tuple[float, float] = SOFT_TISSUE,
    max_slope: float = 6.0,
    smoothing: float = 2.0,
    margin: int = 2,
    smallest: int = 100,
) -> Bool[np.ndarray, "*space"]:
    """Where the reference shows soft tissue without structure, slice by slice.

    A pixel is kept if the reference, smoothed so that its own noise does not count, lies in
    `hu_range` with an in-plane gradient of at most `max_slope`; the kept area is then eroded by
    `margin` and islands under `smallest` pixels are dropped.

    Args:
      reference: the best image of the case, HU; its last two axes are in plane.
      hu_range: lowest and highest HU of the tissue; the default spans water to enhanced organs,
        without fat and lung.
      max_slope: HU a pixel.
      smoothing: standard deviation of the Gaussian, in pixels.
      margin: pixels taken off the border of the area.
      smallest: pixels of the smallest island kept.

    Raises:
      ValueError: the reference is not 2-D or 3-D.
    """
    kept = [
        _flat(plane, hu_range, max_slope, smoothing, margin, smallest)
        for plane in _planes(reference)
    ]
    return np.stack(kept).reshape(np.shape(reference))


def noise_hu(
    restored: Image, mask: Bool[np.ndarray, "*space"], *, tile: int = 15, filled: float = 0.6
) -> float:
    """Standard deviation of the noise in flat tissue, in HU.

    Each slice is cut into tiles of `tile`² pixels. In each tile of which at least the share
    `filled` lies in the mask, a plane is fitted to the masked pixels by least squares and the
    residual's variance is taken (with 3 degrees of freedom less). The answer is the root of the
    median over all tiles, divided by that median's known bias for normal noise. The plane takes
    out shading and slow anatomy, the median the tiles that hold an edge after all.

    Noise coarser than a tile (15 pixels, about 1 cm) goes with the plane and is not seen, and a
    small number is no merit without `edge_width_mm` beside it: blurring lowers both.

    Args:
      restored: the image to judge, HU.
      mask: from `flat_tissue_mask(reference)`, the same for every method.
      tile: side of the tiles in pixels.
      filled: share of a tile that must lie in the mask.

    Returns:
      HU; NaN where no tile is filled enough (no flat tissue in this case).

    Raises:
      ValueError: the shapes differ or the image is not 2-D or 3-D.
    """
    variances, freedom = tile_variances(restored, mask, tile=tile, filled=filled)
    if not len(variances):
        return float("nan")
    bias = stats.chi2.median(freedom) / freedom
    return float(np.sqrt(np.median(variances) / bias))


def tile_variances(
    image: Image, mask: Bool[np.ndarray, "*space"], *, tile: int = 15, filled: float = 0.6
) -> tuple[Float[np.ndarray, " tiles"], float]:
    """Variance about the best plane in each tile that lies in the mask; as `noise_hu`.

    Returns:
      The variances and the mean number of degrees of freedom behind one of them.

    Raises:
      ValueError: the shapes differ or the image is not 2-D or 3-D.
    """
    image, mask = np.asarray(image), np.asarray(mask, dtype=bool)
    if image.shape != mask.shape:
        raise ValueError(f"shapes differ: image {image.shape}, mask {mask.shape}")
    found = [
        _detrended_variance(plane[place], inside[place])
        for plane, inside in zip(_planes(image), _planes(mask), strict=True)
        for place in _tiles(plane.shape, tile)
        if inside[place].mean() >= filled
    ]
    variances, freedoms = np.array(found).reshape(-1, 2).T
    return variances, float(freedoms.mean()) if found else 0.0


def _tiles(shape: tuple[int, ...], tile: int) -> list[tuple[slice, slice]]:
    corners = itertools.product(*(range(0, n - tile + 1, tile) for n in shape))
    return [(slice(y, y + tile), slice(x, x + tile)) for y, x in corners]


def _flat(
    plane: Image,
    hu_range: tuple[float, float],
    max_slope: float,
    smoothing: float,
    margin: int,
    smallest: int,
) -> Bool[np.ndarray, "y x"]:
    plane = np.asarray(plane, dtype=np.float64)
    smooth = ndimage.gaussian_filter(plane, smoothing, mode="nearest")
    slope = ndimage.gaussian_gradient_magnitude(plane, smoothing, mode="nearest")
    kept = (smooth >= hu_range[0]) & (smooth <= hu_range[1]) & (slope <= max_slope)
    if margin:
        kept = ndimage.binary_erosion(kept, iterations=margin)
    islands = np.zeros(kept.shape, np.int32)
    ndimage.label(kept, output=islands)
    large = np.bincount(islands.ravel()) >= smallest
    large[0] = False
    return large[islands]


def _detrended_variance(tile: Image, inside: Bool[np.ndarray, "y x"]) -> tuple[float, int]:
    y, x = np.nonzero(inside)
    plane = np.stack([np.ones(len(y)), y - y.mean(), x - x.mean()], axis=1)
    values = tile[inside].astype(np.float64)
    fit, *_ = np.linalg.lstsq(plane, values, rcond=None)
    freedom = len(values) - plane.shape[1]
    return float(np.square(values - plane @ fit).sum() / freedom), freedom


def _planes(image: np.ndarray) -> np.ndarray:
    """The slices (plane, y, x) of a slice or a volume."""
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ValueError(f"CT metrics take one slice (y, x) or volume (z, y, x), got {image.shape}")
    return image.reshape(-1, *image.shape[-2:])


def _pair(restored: Image, reference: Image) -> tuple[Image, Image]:
    a, b = np.asarray(restored, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: restored {a.shape}, reference {b.shape}")
    return a, b
