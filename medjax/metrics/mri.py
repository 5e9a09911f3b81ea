"""Judging MR images, whose intensities are arbitrary: relative to the head they show."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

# Of the bright tissue: over the noise of air and most ghosts, under skin and brain.
HEAD_ABOVE = 0.1
SMOOTH_SAMPLES = 1.0


def bright_level(image: Float32[np.ndarray, "*space"]) -> float:
    """The intensity of bright tissue: the 99th percentile of all that is brighter than the mean.

    Unlike a percentile of the whole image it does not depend on how much air surrounds the head.
    1 for an image without contrast.
    """
    brighter = image[image > image.mean()]
    level = float(np.percentile(brighter, 99)) if brighter.size else 0.0
    return level if level > 0 else 1.0


def head_mask(image: Float32[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """The head without the air around it; sinuses and skull count as head.

    The largest connected region of the smoothed image above a tenth of its bright tissue, holes
    filled. All of an image in which nothing stands out.
    """
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), SMOOTH_SAMPLES)
    regions = np.zeros(image.shape, np.int32)
    if not ndimage.label(smooth > HEAD_ABOVE * bright_level(image), output=regions):
        return np.ones(image.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(regions == largest))


def relative_mae(
    restored: Float32[np.ndarray, "*space"],
    reference: Float32[np.ndarray, "*space"],
    mask: Bool[np.ndarray, "*space"],
) -> float:
    """Mean absolute error inside the mask over the reference's mean there, e.g. 0.16 for 16 %.

    Raises:
      ValueError: the mask is empty or the shapes differ.
    """
    if not restored.shape == reference.shape == mask.shape:
        raise ValueError(f"shapes {restored.shape}, {reference.shape}, {mask.shape} differ")
    if not mask.any():
        raise ValueError("the mask is empty")
    error = np.abs(restored[mask].astype(np.float64) - reference[mask])
    return float(error.mean() / reference[mask].mean(dtype=np.float64))


def ghost_level(image: Float32[np.ndarray, "*space"], mask: Bool[np.ndarray, "*space"]) -> float:
    """Mean outside the head over the mean inside: ghosts and noise where there should be air.

    0 where the head fills the image.
    """
    if mask.all() or not mask.any():
        return 0.0
    return float(image[~mask].mean(dtype=np.float64) / image[mask].mean(dtype=np.float64))
