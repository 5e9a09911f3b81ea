"""Undoing a blur of unknown width, the classical way."""

import numpy as np
from jaxtyping import Float
from skimage import restoration

Image = Float[np.ndarray, "y x"]
# Kernels reach three standard deviations.
REACH = 3


def wiener(image: Image, sigma: float, *, blur: float, balance: float) -> Image:
    """Wiener deconvolution of a Gaussian blur with a Laplacian prior (Hunt, IEEE TC 1973).

    Borders are mirrored, so that opposite ones do not ring into each other. Ignores sigma: what
    it would choose is `balance`, which `tune` finds.

    Args:
      image: 2-D, any unit.
      sigma: not used.
      blur: standard deviation of the blur in pixels, positive.
      balance: weight of smoothness against sharpness, positive.
    """
    del sigma
    reach = int(np.ceil(REACH * blur))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / blur) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    pad = min(4 * reach, *(n - 1 for n in image.shape))
    offset = float(image.mean())
    wide = np.pad(np.asarray(image, np.float64) - offset, pad, mode="reflect")
    sharp = restoration.wiener(wide, kernel, balance, clip=False)
    inner = tuple(slice(pad, pad + n) for n in image.shape)
    return np.asarray(sharp)[inner] + offset
