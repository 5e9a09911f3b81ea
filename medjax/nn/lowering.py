"""The three products of a convolution: forward, input gradient, weight gradient."""

import jax
from jax import lax
from jaxtyping import Array

from medjax.nn.geometry import Geometry

_SPACE = "WXYZ"


def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    space = _SPACE[: x.ndim - 2]
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def input_gradient(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    shape = (dy.shape[0], *space, kernel.shape[-2] * geometry.groups)
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(lambda x: forward(x, kernel, geometry), x)(dy)[0]
