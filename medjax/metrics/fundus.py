"""What a fundus photograph must show: its vessels. On the host, one image `[y, x]`."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

# Widest vessel of a photograph of some 560 pixels a side, and the share of the retina under
# vessels there (12.7 % in DRIVE's first manual segmentation).
VESSEL_WIDTH = 11
VESSEL_SHARE = 0.1
SURROUNDINGS = 31


def field_of_view(image: Float[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """The photographed retina without the black around it and without its rim.

    What is over a fifth of the median of the brighter half, smoothed, filled, and worn down by
    5 pixels. All of an image that has no black.
    """
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), 3.0, mode="nearest")
    bright = np.median(smooth[smooth >= np.median(smooth)])
    inside = ndimage.binary_fill_holes(smooth > bright / 5)
    assert inside is not None
    return ndimage.binary_erosion(inside, iterations=5, border_value=1)


def vessels(
    reference: Float[np.ndarray, "y x"], inside: Bool[np.ndarray, "y x"]
) -> Bool[np.ndarray, "y x"]:
    """The darkest tenth of the field of view against its close surroundings: mostly vessels.

    Black top-hat (closing less image) after a light smoothing; no segmentation is needed, and it
    follows the reference alone.
    """
    smooth = ndimage.gaussian_filter(np.asarray(reference, np.float32), 1.0, mode="nearest")
    depth = np.asarray(ndimage.black_tophat(smooth, size=(VESSEL_WIDTH, VESSEL_WIDTH)))
    return inside & (depth >= np.quantile(depth[inside], 1 - VESSEL_SHARE)) & (depth > 0)


def vessel_contrast(
    image: Float[np.ndarray, "y x"],
    vessel: Bool[np.ndarray, "y x"],
    inside: Bool[np.ndarray, "y x"],
) -> float:
    """Mean of 1 - vessel / surroundings (Weber's contrast): blur lowers it, noise does not.

    Uneven illumination falls out of the ratio. The surroundings are the mean of what is no vessel
    and in the field of view within 15 pixels. NaN without a vessel.
    """
    image = np.asarray(image, np.float64)
    around = inside & ~vessel
    if not (vessel.any() and around.any()):
        return float("nan")
    share = ndimage.uniform_filter(around.astype(np.float64), SURROUNDINGS)
    level = ndimage.uniform_filter(np.where(around, image, 0.0), SURROUNDINGS)
    level = level / np.maximum(share, 1e-6)
    measured = vessel & (share > 0.05) & (level > 0)
    return float(np.mean(1 - image[measured] / level[measured])) if measured.any() else float("nan")
