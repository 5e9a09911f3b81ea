"""Bright blobs of a lung slice and numbers that tell nodules from vessels.

Laplacian-of-Gaussian scale space (Lindeberg, "Feature detection with automatic scale selection",
IJCV 1998): a disc of radius r answers most strongly at a standard deviation of r/√2.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped
from scipy import ndimage

# Radii of the rings that are looked at around a blob, in shares of its own.
_RINGS = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
_ANGLES = np.arange(16) * (2 * np.pi / 16)
_FARTHEST_WALL_MM = 20.0


@dataclasses.dataclass(frozen=True)
class BlobSearch:
    """What counts as a blob.

    Attributes:
      radii_mm: of the blobs looked for.
      least_hu: scale-normalised Laplacian of the faintest; about half of a disc's contrast.
      clip_hu: values beyond are cut off, so that bone and metal do not reach into the lung.
      most: blobs kept a slice, the strongest.
    """

    radii_mm: tuple[float, ...] = (1.6, 2.3, 3.2, 4.5, 6.4)
    least_hu: float = 30.0
    clip_hu: tuple[float, float] = (-1000.0, 100.0)
    most: int = 400


def find_blobs(
    image: Shaped[np.ndarray, "y x"],
    lungs: Bool[np.ndarray, "y x"],
    spacing: tuple[float, float],
    search: BlobSearch,
) -> tuple[Float[np.ndarray, "blob 2"], Float[np.ndarray, "blob feature"]]:
    """Where the blobs of a slice lie, y and x in mm, and what describes each.

    Args:
      image: HU.
      lungs: where a blob's centre may lie.
      spacing: mm between rows and between columns.
      search: what counts as a blob.
    """
    step = np.array(spacing)
    hu = np.clip(np.asarray(image, np.float32), *search.clip_hu)
    radii = np.array(search.radii_mm)
    corner, crop = _around(lungs, 3 * radii.max() / step)
    hu, inside = hu[crop], lungs[crop]
    sigmas = radii / np.sqrt(2)
    answers = np.stack([_laplacian(hu, step, sigma) for sigma in sigmas])
    peaks = (answers == ndimage.maximum_filter(answers, 3)) & (answers >= search.least_hu)
    scale, y, x = np.nonzero(peaks & inside)
    order = np.argsort(-answers[scale, y, x], kind="stable")[: search.most]
    scale, y, x = scale[order], y[order], x[order]
    strongest = answers[scale, y, x][:, None]
    wall = ndimage.distance_transform_edt(inside, sampling=spacing)
    features = np.concatenate(
        [
            np.log(strongest),
            scale[:, None],
            answers[:, y, x].T / strongest,
            _roundness(hu, step, sigmas, scale, y, x),
            _rings(hu, step, radii[scale], y, x),
            np.minimum(np.asarray(wall)[y, x], _FARTHEST_WALL_MM)[:, None],
        ],
        axis=1,
    )
    return (np.stack([y, x], axis=1) + corner) * step, features


def _around(
    lungs: Bool[np.ndarray, "y x"], margin: Float[np.ndarray, "2"]
) -> tuple[Int[np.ndarray, "2"], tuple[slice, slice]]:
    """First pixel and extent of the lungs with a margin; nothing where there are no lungs."""
    if not lungs.any():
        return np.zeros(2, int), (slice(0, 1), slice(0, 1))
    where = [np.flatnonzero(lungs.any(axis=1 - axis)) for axis in (0, 1)]
    first, last = ([w[end] for w in where] for end in (0, -1))
    pad = np.ceil(margin).astype(int)
    corner = np.maximum(np.array(first) - pad, 0)
    rows, columns = (slice(a, b + p + 1) for a, b, p in zip(corner, last, pad, strict=True))
    return corner, (rows, columns)


def _derivative(
    hu: Float32[np.ndarray, "y x"],
    step: Float[np.ndarray, "2"],
    sigma: float,
    orders: tuple[int, int],
) -> Float32[np.ndarray, "y x"]:
    """Of the image smoothed by sigma mm, in HU over mm."""
    for axis, order in enumerate(orders):
        size = float(step[axis])
        hu = ndimage.gaussian_filter1d(hu, sigma / size, axis, order, mode="nearest") / size**order
    return hu


def _laplacian(
    hu: Float32[np.ndarray, "y x"], step: Float[np.ndarray, "2"], sigma: float
) -> Float32[np.ndarray, "y x"]:
    """Scale-normalised, positive on bright blobs, in HU."""
    yy, xx = (_derivative(hu, step, sigma, orders) for orders in ((2, 0), (0, 2)))
    return -(sigma**2) * (yy + xx)


def _roundness(
    hu: Float32[np.ndarray, "y x"],
    step: Float[np.ndarray, "2"],
    sigmas: Float[np.ndarray, " scale"],
    scale: Int[np.ndarray, " blob"],
    y: Int[np.ndarray, " blob"],
    x: Int[np.ndarray, " blob"],
) -> Float[np.ndarray, "blob 1"]:
    """Smaller over larger curvature: 1 for a disc, 0 for a vessel in plane."""
    ratio = np.zeros((len(scale), 1))
    for i, sigma in enumerate(sigmas):
        at = scale == i
        yy, yx, xx = (
            _derivative(hu, step, sigma, orders)[y[at], x[at]]
            for orders in ((2, 0), (1, 1), (0, 2))
        )
        middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
        ratio[at, 0] = (middle + half) / (middle - half)
    return ratio


def _rings(
    hu: Float32[np.ndarray, "y x"],
    step: Float[np.ndarray, "2"],
    radius: Float[np.ndarray, " blob"],
    y: Int[np.ndarray, " blob"],
    x: Int[np.ndarray, " blob"],
) -> Float[np.ndarray, "blob feature"]:
    """The profile outwards, and what leaves the blob sideways, in shares of its contrast."""
    reach = radius[:, None, None] * _RINGS[:, None]
    points = [
        at[:, None, None] + reach * turn(_ANGLES) / size
        for at, turn, size in zip((y, x), (np.sin, np.cos), step, strict=True)
    ]
    value = ndimage.map_coordinates(hu, points, order=1, mode="nearest")
    mean = value.mean(axis=2)
    floor = np.median(np.concatenate([value[:, -2], value[:, -1]], axis=1), axis=1)
    contrast = np.maximum(mean[:, 0] - floor, 1.0)[:, None]
    ordered = np.sort(value[:, 2:], axis=2) - floor[:, None, None]
    # The brightest direction is a vessel that arrives, the third brightest one that leaves too.
    sideways = np.concatenate(list(np.moveaxis(ordered[:, :, [0, 7, 12, -1]], 1, 0)), axis=1)
    return np.concatenate(
        [
            np.log(contrast),
            floor[:, None] / 100,
            (mean[:, 1:] - floor[:, None]) / contrast,
            value[:, 1:].std(axis=2) / contrast,
            sideways / contrast,
        ],
        axis=1,
    )
