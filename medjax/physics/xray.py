"""Exposure of a radiograph: quantum noise, a detector that saturates, and the grey scale.

Grey is what is stored and shown: 0 black (most photons: air), 1 white (fewest: bone). At the right
exposure a pixel of middle grey collects `Detector.photons`; everything else follows from how grey
depends on the logarithm of the signal (`Detector.response`):

    grey g --> l = log10(signal / middle signal) --> N = exposure * photons * 10^l
    y = Poisson(N) + Normal(0, electronic_sigma^2), cut at saturation, in steps of the converter
    --> log10(y / photons) --> grey.

Too much exposure moves all greys towards black and saturates what collects most; too little moves
them towards white and leaves noise and the converter's steps in what collects least.
`estimate_exposure` and `correct_exposure` put the levels right again, from the image alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from medjax.errors import UserError

Response = Literal["log", "linear", "sigmoid"]

# A sigmoid's ends lie at infinity; black and white are this far from them.
_TIP = 0.02
# Signals and sigmoids stay this far from where their logarithm ends.
_LEAST = 1e-4

# Percentiles of a whole radiograph that count as its black and its white.
ENDS = (0.5, 99.5)


@dataclass(frozen=True)
class Detector:
    """A digital detector with its grey scale.

    The default for `photons` is a storage phosphor at speed class 400: 2.5 uGy behind the patient,
    30174 photons per mm^2 and uGy (RQA5 beam, IEC 62220-1), pixels of 0.2 mm and a detective
    quantum efficiency of 0.25.

    Attributes:
      photons: detected a pixel where grey is 1/2, at the right exposure.
      electronic_sigma: standard deviation of electronic noise, in photons.
      latitude: decades of signal between black and white.
      response: of grey to the signal's logarithm: "log" is proportional, "linear" is proportional
        to the signal itself, "sigmoid" flattens at both ends as film and DICOM's SIGMOID VOI LUT.
      saturation: the largest signal, as a multiple of that of black at the right exposure (a
        detector with a spare stop has 2).
      bits: of the converter; its last step is the saturation signal.
    """

    photons: float = 750.0
    electronic_sigma: float = 3.0
    latitude: float = 2.0
    response: Response = "log"
    saturation: float = 2.0
    bits: int = 12

    def __post_init__(self) -> None:
        for name in ("photons", "latitude", "saturation"):
            if not getattr(self, name) > 0:
                raise UserError(f"detector.{name} {getattr(self, name)}: must be positive")
        if not self.electronic_sigma >= 0:
            raise UserError(f"detector.electronic_sigma {self.electronic_sigma}: must be 0 or more")
        if not 1 <= self.bits <= 24:
            raise UserError(f"detector.bits {self.bits}: must be 1 to 24")

    def log_signal(self, grey: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """log10 of the signal over that of middle grey; finite for greys outside [0, 1] too."""
        g = jnp.asarray(grey, jnp.float32)
        half = self.latitude / 2
        if self.response == "log":
            return half - self.latitude * g
        if self.response == "sigmoid":
            inner = jnp.clip(_TIP + (1 - 2 * _TIP) * g, _LEAST, 1 - _LEAST)
            return -half * jnp.log(inner / (1 - inner)) / math.log((1 - _TIP) / _TIP)
        low, high = 10**-half, 10**half
        return jnp.log10(jnp.maximum(high - (high - low) * g, _LEAST))

    def grey(self, log_signal: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """The inverse of `log_signal`; signals beyond black's and white's leave [0, 1]."""
        level = jnp.asarray(log_signal, jnp.float32)
        half = self.latitude / 2
        if self.response == "log":
            return (half - level) / self.latitude
        if self.response == "sigmoid":
            inner = jax.nn.sigmoid(-level / half * math.log((1 - _TIP) / _TIP))
            return (inner - _TIP) / (1 - 2 * _TIP)
        low, high = 10**-half, 10**half
        return (high - 10**level) / (high - low)


def expose(
    key: Key[Array, ""],
    grey: Float[Array, "batch *space 1"],
    exposure: Float[Array, " batch"] | float,
    detector: Detector = Detector(),
    sampler: Literal["poisson", "gaussian"] = "poisson",
) -> Float[Array, "batch *space 1"]:
    """The radiograph as it would have come out at `exposure` times the right one.

    Args:
      key: of the noise.
      grey: the well-exposed radiograph, 0 black to 1 white; its own noise stays in it.
      exposure: factor on the photons, one or one an image; traced.
      detector: static.
      sampler: "poisson" is exact; "gaussian" has the same mean and variance, is faster and can be
        differentiated. (The converter's steps have gradient 0: they are passed straight through.)
    """
    expected = expected_counts(grey, _each(exposure, grey), detector)
    photon_key, electron_key = jax.random.split(key)
    if sampler == "poisson":
        counts = jax.random.poisson(photon_key, expected).astype(jnp.float32)
    else:
        noise = jax.random.normal(photon_key, expected.shape)
        counts = expected + jnp.sqrt(expected) * noise
    counts += detector.electronic_sigma * jax.random.normal(electron_key, expected.shape)
    return develop(counts, detector)


def expected_counts(
    grey: Float[ArrayLike, "..."], exposure: Float[ArrayLike, "..."], detector: Detector
) -> Float[Array, "..."]:
    """Mean number of detected photons a pixel; the arguments broadcast."""
    photons = jnp.asarray(exposure, jnp.float32) * detector.photons
    return photons * 10 ** detector.log_signal(grey)


def develop(counts: Float[Array, "..."], detector: Detector = Detector()) -> Float[Array, "..."]:
    """The grey that the detector stores for so many photons a pixel."""
    largest = detector.saturation * detector.photons * 10 ** (detector.latitude / 2)
    step = largest / (2**detector.bits - 1)
    steps = jnp.clip(counts, 0.0, largest) / step
    steps = steps + jax.lax.stop_gradient(jnp.round(steps) - steps)
    # One step is the least that has a logarithm.
    level = jnp.log10(jnp.maximum(steps, 1.0) * (step / detector.photons))
    return detector.grey(level)


def estimate_exposure(
    grey: Float[ArrayLike, "*space"], detector: Detector = Detector()
) -> Float[Array, ""]:
    """The exposure factor of one whole radiograph, from the ends of its histogram.

    At the right exposure black and white, the percentiles `ENDS`, are 0 and 1. Black tells how far
    they moved, as it has the least noise; where it is cut off (many pixels share the least grey,
    as in a saturated detector) white tells.
    """
    image = jnp.asarray(grey, jnp.float32)
    black, white = jnp.percentile(image, jnp.asarray(ENDS, jnp.float32))
    by_black = detector.log_signal(black) - detector.log_signal(0.0)
    by_white = detector.log_signal(white) - detector.log_signal(1.0)
    return 10 ** jnp.where(black <= image.min(), by_white, by_black)


def correct_exposure(
    grey: Float[ArrayLike, "batch *space 1"] | Float[ArrayLike, "*space"],
    exposure: Float[Array, " batch"] | float,
    detector: Detector = Detector(),
) -> Float[Array, "..."]:
    """The grey that the same signal would have had at the right exposure.

    Brings every level back to where it belongs; noise, steps and what was cut off stay.
    """
    level = detector.log_signal(grey)
    factor = jnp.asarray(exposure, jnp.float32)
    return detector.grey(level - jnp.log10(factor if factor.ndim == 0 else _each(factor, level)))


def _each(numbers: Float[Array, " batch"] | float, image: Array) -> Array:
    """One number, or one an image, ready to be multiplied with a batch of images."""
    return jnp.asarray(numbers, jnp.float32).reshape(-1, *[1] * (image.ndim - 1))
