"""What image viewers do to radiographs that are too dark or too bright."""

import math

import numpy as np
from jaxtyping import Float

Image = Float[np.ndarray, "*space"]


def auto_gamma(image: Image, sigma: float, *, low: float, high: float, target: float) -> Image:
    """Raises greys to the power that makes their mean `target`; ignores sigma.

    Args:
      image: `[*space]`; clipped to [low, high].
      sigma: unused.
      low: the value of black.
      high: the value of white.
      target: mean grey wanted, above 0 and under 1.

    Returns:
      Values in [low, high]; an image whose mean grey is an end of the window comes back clipped.
    """
    del sigma
    grey = np.clip((image - low) / (high - low), 0, 1)
    mean = float(np.mean(grey, dtype=np.float64))
    if not 0 < mean < 1:
        return low + (high - low) * grey
    # The mean falls steadily with the exponent, so halving the interval finds it.
    lowest, highest = -6.0, 6.0
    for _ in range(40):
        middle = (lowest + highest) / 2
        if np.mean(grey ** math.exp(middle)) > target:
            lowest = middle
        else:
            highest = middle
    return low + (high - low) * grey ** math.exp((lowest + highest) / 2)
