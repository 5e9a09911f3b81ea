"""N4 bias field correction (Tustison et al., IEEE TMI 2010) by SimpleITK, where it is installed."""

import importlib
import importlib.util
from typing import Any

import numpy as np
from jaxtyping import Float

from medjax.errors import UserError


def available() -> bool:
    """Whether SimpleITK, which medjax does not depend on, is installed."""
    return importlib.util.find_spec("SimpleITK") is not None


def n4(
    image: Float[np.ndarray, "*space"],
    sigma: float = 0.0,
    *,
    shrink: int = 4,
    iterations: int = 50,
    levels: int = 4,
) -> Float[np.ndarray, "*space"]:
    """An MR image without the coil's smooth unevenness, its mean brightness kept.

    Args:
      image: [y, x] or [z, y, x] of arbitrary intensities, 0 in air.
      sigma: ignored; all baselines are called with the noise level.
      shrink: the field is fitted to every `shrink`-th sample of each axis.
      iterations: at each level.
      levels: of the spline's refinement.

    Raises:
      UserError: SimpleITK is not installed.
    """
    del sigma
    if not available():
        raise UserError("N4 needs SimpleITK: install it with `pip install SimpleITK`")
    itk: Any = importlib.import_module("SimpleITK")
    whole = itk.GetImageFromArray(np.asarray(image, np.float32))
    # Otsu's threshold tells the body from air, where a ratio means nothing.
    body = itk.OtsuThreshold(whole, 0, 1, 200)
    factors = [min(shrink, n) for n in reversed(image.shape)]
    fit = itk.N4BiasFieldCorrectionImageFilter()
    fit.SetMaximumNumberOfIterations([iterations] * levels)
    fit.Execute(itk.Shrink(whole, factors), itk.Shrink(body, factors))
    field = np.exp(itk.GetArrayFromImage(fit.GetLogBiasFieldAsImage(whole)))
    even = image / field
    inside = itk.GetArrayFromImage(body) > 0
    if not inside.any() or even[inside].mean() == 0:
        return np.asarray(image, np.float32)
    return (even * (image[inside].mean() / even[inside].mean())).astype(np.float32)
