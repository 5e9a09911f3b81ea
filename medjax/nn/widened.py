"""Convolutions of few channels that find several neighbouring outputs at once.

XLA's CPU kernels need some 24 channels to be fast. Where there are fewer, the outputs of a few
neighbours along the last axis are taken for features of one: a window as much longer, with zeros
where a neighbour does not look, and strides as much larger. Channels last, so putting them back
moves nothing. A window of 3 taps multiplies a third more for two neighbours at once, twice as much
for four.
"""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from medjax.nn.geometry import Geometry

# On 2 cores of a Xeon with AVX-512 (jax 0.10.1), of 5 and of 3 taps in 2-D: 16 to 16 channels 1.6
# and 1.4 times as fast, 8 to 8 2.5, 1 to 16 7.0, 2 to 16 4.8. With 24 channels on either side, or
# with one feature, slower.
_MOST, _FEW = 16, 8


def neighbours(channels: int, features: int, width: int, geometry: Geometry) -> int:
    """How many outputs, of `width` along the last axis, are best found at once on CPUs."""
    plain = geometry.groups == 1 and geometry.strides[-1] == geometry.dilation[-1] == 1
    if not plain or channels > _MOST or not 1 < features <= _MOST:
        return 1
    wanted = 4 if features <= _FEW else 2
    return next(n for n in (wanted, 2, 1) if width % n == 0)


def widened(kernel: Array, count: int, geometry: Geometry) -> tuple[Array, Geometry]:
    """Kernel `[*window, channel, count * feature]` and geometry that find `count` at once."""
    between = [(0, 0)] * (kernel.ndim - 3)
    shifted = [
        jnp.pad(kernel, [*between, (i, count - 1 - i), (0, 0), (0, 0)]) for i in range(count)
    ]
    steps = (*geometry.strides[:-1], count)
    together = jnp.stack(shifted, -2)
    return together.reshape(*together.shape[:-2], -1), replace(geometry, strides=steps)
