"""Filling missing samples from their neighbours, by SciPy and scikit-image.

Each takes one case `[*space]` in which missing samples hold `medjax.physics.missing.MISSING`, and
gives it back with those filled and all others untouched. The noise level is ignored. An image
with nothing missing comes back as it is; one with nothing known too.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage import restoration

from medjax.physics.missing import is_missing

Image = Float[np.ndarray, "*space"]


def nearest(image: Image, sigma: float) -> Image:
    """Each missing sample takes the value of the nearest known one, distances in samples."""
    del sigma
    missing = is_missing(image)
    if missing.all() or not missing.any():
        return image
    places = np.empty((image.ndim, *image.shape), np.int32)
    ndimage.distance_transform_edt(
        missing, return_distances=False, return_indices=True, indices=places
    )
    return image[tuple(places)]


def linear(image: Image, sigma: float) -> Image:
    """Linear interpolation along the first axis: across lost lines of an image, slices of a volume.

    Beyond the last known sample of a column its value goes on; a column with none is filled by
    `nearest`.
    """
    del sigma
    columns = image.reshape(len(image), -1).copy()
    missing = is_missing(columns)
    index = np.arange(len(image))
    for i in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        lost = missing[:, i]
        columns[lost, i] = np.interp(index[lost], index[~lost], columns[~lost, i])
    return nearest(columns.reshape(image.shape), 0.0)


def biharmonic(image: Image, sigma: float, *, tile: int, reach: int) -> Image:
    """Biharmonic filling (Damelin and Hoang, Int. J. Math. Math. Sci. 2018), tile by tile.

    The bilaplacian vanishes in each gap and joins the known samples smoothly. One sparse system
    for a whole image takes minutes, and a filling hardly sees what is far: so each tile is solved
    by itself with `reach` samples around it. A tile with nothing known is filled by `nearest`.

    Args:
      image: `[*space]` with `MISSING` samples.
      sigma: unused.
      tile: side of the tiles in samples.
      reach: samples around a tile that are solved with it and then dropped.
    """
    del sigma
    missing = is_missing(image)
    filled = nearest(image, 0.0)
    if missing.all():
        return image
    for corner in np.ndindex(*(-(-n // tile) for n in image.shape)):
        inner = tuple(slice(c * tile, (c + 1) * tile) for c in corner)
        wide = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in inner)
        if missing[inner].any() and not missing[wide].all():
            solved = _solve(image[wide], missing[wide])
            offset = tuple(i.start - w.start for i, w in zip(inner, wide, strict=True))
            part = filled[inner]
            lost = missing[inner]
            place = tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=True))
            part[lost] = solved[place][lost]
    return filled


def _solve(image: Image, missing: Bool[np.ndarray, "*space"]) -> Image:
    # scikit-image clips the solution to the known samples' range, of which MISSING is none.
    known = np.where(missing, image[~missing].mean(), image)
    return restoration.inpaint_biharmonic(known, missing)
