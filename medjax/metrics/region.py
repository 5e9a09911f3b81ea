"""Image quality inside a region of one case."""

import numpy as np
from jaxtyping import Bool, Float

from medjax.losses.ssim import WINDOW, ssim_maps

Image = Float[np.ndarray, "*space"]


def ssim_where(
    restored: Image, reference: Image, where: Bool[np.ndarray, "*space"], data_range: float
) -> float:
    """Mean SSIM over the windows of 11 samples an axis whose centre lies in `where`.

    NaN where there are none.
    """
    a, b = (x[None, ..., None] for x in (restored, reference))
    maps = ssim_maps(a, b, data_range=data_range)
    values = np.asarray(maps.luminance * maps.contrast_structure)[0, ..., 0]
    half = WINDOW // 2
    inner = where[tuple(slice(half, n - half) for n in where.shape)]
    return float(np.mean(values[inner])) if inner.any() else float("nan")
