"""The three products of a convolution by oneDNN, on one CPU device (onednn_library.py).

By measurement on two cores of an AMD EPYC with AVX-512 (oneDNN 3.2, jax 0.10.1): all 482 different
products of the `cpu` settings' networks together take half of the time that they take in XLA's
best ways, weight gradients less than four tenths, and nearly each one alone is faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from medjax.nn.geometry import Geometry
from medjax.nn.onednn_library import TARGET, code, library

_FORWARD, _INPUT_GRADIENT, _WEIGHT_GRADIENT = range(3)
# Between one channel and so many, windows of several taps are XLA's, in two fifths of the time
# (weight gradients of 32 channels to 1) to nine tenths (forward and input gradients); from 12 to 16
# channels forward passes take oneDNN a sixth to half of XLA's time.
_MANY_TO_ONE = 24


@dataclass(frozen=True)
class Problem:
    """One product of a convolution with all its sizes; `numbers` is how onednn.cc reads it.

    Attributes:
        product: 0 is forward, 1 the input gradient, 2 the weight gradient.
        geometry: of the convolution.
        x: shape of its input, `[batch, *space, channel]`.
        kernel: `[*window, channel // groups, features]`.
        y: of its output, `[batch, *out, features]`.
    """

    product: int
    geometry: Geometry
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    y: tuple[int, ...]

    @classmethod
    def forward(cls, x: Array, kernel: Array, geometry: Geometry) -> "Problem":
        """Of `lowering.forward`."""
        out = geometry.out_space(x.shape[1:-1], kernel.shape[:-2])
        y = (x.shape[0], *out, kernel.shape[-1])
        return cls(_FORWARD, geometry, x.shape, kernel.shape, y)

    @classmethod
    def input_gradient(
        cls, dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]
    ) -> "Problem":
        """Of `lowering.input_gradient`."""
        x = (dy.shape[0], *space, kernel.shape[-2] * geometry.groups)
        return cls(_INPUT_GRADIENT, geometry, x, kernel.shape, dy.shape)

    @classmethod
    def weight_gradient(
        cls, x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]
    ) -> "Problem":
        """Of `lowering.weight_gradient`."""
        kernel = (*window, x.shape[-1] // geometry.groups, dy.shape[-1])
        return cls(_WEIGHT_GRADIENT, geometry, x.shape, kernel, dy.shape)

    @classmethod
    def read(cls, numbers: Sequence[int]) -> "Problem":
        """What `numbers` were written from."""
        product, n, *rest = (int(number) for number in numbers)
        stops = accumulate((n + 2, n + 2, n + 2, n, n, n, n))
        x, kernel, y, strides, lows, highs, dilation = (
            tuple(rest[stop - size : stop])
            for stop, size in zip(stops, (n + 2, n + 2, n + 2, n, n, n, n), strict=True)
        )
        pads = tuple(zip(lows, highs, strict=True))
        return cls(product, Geometry(strides, pads, dilation), x, kernel, y)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Product, dimensions, then shapes, strides, padding and dilation."""
        g = self.geometry
        lows, highs = zip(*g.pads, strict=True)
        sizes = chain(self.x, self.kernel, self.y, g.strides, lows, highs, g.dilation)
        return (self.product, len(g.strides), *sizes)

    @property
    def possible(self) -> bool:
        """Whether oneDNN has quick code for it; its plain code is marked as reference."""
        pads = chain.from_iterable(self.geometry.pads)
        empty = 0 in (*self.x, *self.kernel, *self.y)
        if self.geometry.groups > 1 or len(self.x) > 5 or empty or min(pads) < 0:
            return False
        named = code(self.numbers)
        return named != "" and not named.startswith("ref")

    @property
    def pays(self) -> bool:
        """Whether it is faster than XLA's way."""
        channels, features = self.kernel[-2:]
        ends = (features, channels, features)[self.product], max(channels, features)
        return ends[0] > 1 or ends[1] < _MANY_TO_ONE or prod(self.kernel[:-2]) == 1

    def run(self, first: Array, second: Array) -> Array:
        """The product of its two float32 arrays, in the order of `lowering`'s functions."""
        shape = (self.y, self.x, self.kernel)[self.product]
        result = jax.ShapeDtypeStruct(shape, np.float32)
        call = jax.ffi.ffi_call(TARGET, result, vmap_method="sequential")
        return call(first, second, problem=np.asarray(self.numbers, np.int64))


def used() -> bool:
    """Whether this process convolves by oneDNN: on one device, a CPU.

    XLA splits its own convolutions over several devices, but no library's.
    """
    alone = jax.default_backend() == "cpu" and jax.device_count() == 1
    return alone and library() is not None


def available(dtype: DTypeLike) -> bool:
    """Whether products of arrays of this type may be; narrow ones are computed in float32."""
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits <= 32 and used()


def chosen(problem: Problem, dtype: DTypeLike) -> bool:
    """Whether a product of arrays of this type is oneDNN's on CPU."""
    return available(dtype) and problem.pays and problem.possible
