"""BM3D by its authors' package, where it is installed, given the noise's spectrum.

Dabov, Foi, Katkovnik, Egiazarian, "Image denoising by sparse 3-D transform-domain collaborative
filtering", IEEE TIP 2007; for correlated noise: Mäkinen, Azzari, Foi, IEEE TIP 2020. The package
`bm3d` is free for research that is not commercial; medjax does not depend on it.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from medjax.errors import UserError
from medjax.physics.ct_fbp import apodisation

Noise = Literal["white", "ramp", "shepp-logan", "hann"]
PACKAGE = "bm3d"


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def block_matching(
    image: Float[np.ndarray, "y x"], sigma: float, *, noise: Noise = "white", strength: float = 1.0
) -> Float[np.ndarray, "y x"]:
    """The image without noise of a known spectrum.

    Args:
      image: any unit.
      sigma: standard deviation of the noise, same unit.
      noise: "white", or the reconstruction filter whose noise the image has.
      strength: sigma is multiplied by it.

    Raises:
      UserError: the package is not installed.
    """
    if not available():
        raise UserError(f"BM3D needs its package: install it with `pip install {PACKAGE}`")
    if sigma == 0:
        return image
    package: Any = importlib.import_module(PACKAGE)
    # The package assumes values in [0, 1].
    scale = max(float(np.ptp(image)), 1e-6)
    spectrum = noise_spectrum(image.shape, noise) * (strength * sigma / scale) ** 2
    low = image.min()
    with _old_numpy():
        restored = package.bm3d((image - low) / scale, spectrum * image.size)
    return (restored * scale + low).astype(np.float32)


@contextlib.contextmanager
def _old_numpy() -> Iterator[None]:
    """`numpy.trapz`, which the package still calls and NumPy 2.4 has no more."""
    if hasattr(np, "trapz"):
        yield
        return
    setattr(np, "trapz", np.trapezoid)  # noqa: B010
    try:
        yield
    finally:
        delattr(np, "trapz")


def noise_spectrum(shape: tuple[int, ...], noise: Noise) -> Float[np.ndarray, "y x"]:
    """Power at each frequency of a two-dimensional FFT, with mean 1.

    Noise that is white in the projections has the power |f| A(f)^2 after filtered backprojection
    with the ramp apodised by A (Riederer, Pelc, Chesler, Phys Med Biol 1978), and of that linear
    interpolation between detectors leaves sinc(f)^4.
    """
    if noise == "white":
        return np.ones(shape)
    f = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    power = f * (apodisation(noise, 1.0, np.minimum(f, 0.5)) * np.sinc(f) ** 2) ** 2 * (f <= 0.5)
    # The ramp's finite length leaves some power at zero, and the grid some in the corners.
    power = np.maximum(power, 1e-3 * power.max())
    return power / power.mean()
