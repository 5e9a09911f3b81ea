"""The three products of a convolution, each lowered for its platform and differentiable again.

`forward`, `input_gradient` and `weight_gradient` are each linear in both of their arrays, and
each one's derivatives are the other two. So reverse mode works to any order; forward mode
(`jax.jvp`) does not pass a `custom_vjp`: there, transpose twice with `jax.vjp`.

What runs where, by measurement (medjax/nn/conv.py has the numbers):

| product | one CPU device with oneDNN | CPU without | elsewhere |
|---|---|---|---|
| forward | oneDNN's | XLA's in 2-D (filled.py, widened.py), others folded (fold.py) | 4-D in 3-D |
| input gradient | oneDNN's | a stride-1 convolution a phase of the stride (fold.py) | transpose |
| weight gradient | oneDNN's | by size (weight_convolution.py), XLA's or blocks | transpose |
| in 4-D | weight gradient by taps | as above | as above |
| grouped, between one channel and many | as without | as above | as above |
| depthwise | as without | shifted products (depthwise.py) | as any other |
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.nn import fold
from medjax.nn.geometry import Geometry
from medjax.nn.onednn import Problem, available, chosen
from medjax.nn.weight_convolution import by_taps, convolved_weight_gradient, faster_on_cpu
from medjax.nn.weight_gradient import blocked_weight_gradient


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolve `[batch, *space, channel]` with `[*window, channel // groups, features]`."""
    problem = Problem.forward(x, kernel, geometry)
    folded = partial(fold.forward, geometry=geometry, into=2)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=_in_float32(problem.run if chosen(problem, x.dtype) else folded),
        default=partial(fold.forward, geometry=geometry, into=3),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@jax.named_scope("input_gradient")
def input_gradient(dy: Array, kernel: Array, geometry: Geometry, space: tuple[int, ...]) -> Array:
    """Gradient by the input, of spatial shape `space`; also the transposed convolution."""

    def elsewhere(dy: Array, kernel: Array) -> Array:
        shape = (dy.shape[0], *space, kernel.shape[-2] * geometry.groups)
        primal = jax.ShapeDtypeStruct(shape, dy.dtype)
        product = partial(fold.forward, kernel=kernel, geometry=geometry, into=3)
        return jax.linear_transpose(product, primal)(dy)[0]

    problem = Problem.input_gradient(dy, kernel, geometry, space)
    folded = partial(fold.input_gradient, geometry=geometry, space=space)
    return lax.platform_dependent(
        dy,
        kernel,
        cpu=_in_float32(problem.run if chosen(problem, dy.dtype) else folded),
        default=elsewhere,
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@jax.named_scope("weight_gradient")
def weight_gradient(x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]) -> Array:
    """Gradient by the kernel, of spatial shape `window`."""

    def elsewhere(x: Array, dy: Array) -> Array:
        shape = (*window, x.shape[-1] // geometry.groups, dy.shape[-1])
        primal = jax.ShapeDtypeStruct(shape, x.dtype)
        return jax.linear_transpose(lambda k: fold.forward(x, k, geometry, into=3), primal)(dy)[0]

    return lax.platform_dependent(
        x,
        dy,
        cpu=_in_float32(_weight_gradient_on_cpu(x, dy, geometry, window)),
        default=elsewhere,
    )


def _weight_gradient_on_cpu(
    x: Array, dy: Array, geometry: Geometry, window: tuple[int, ...]
) -> Callable[[Array, Array], Array]:
    problem = Problem.weight_gradient(x, dy, geometry, window)
    if chosen(problem, x.dtype):
        return problem.run
    sizes = {"geometry": geometry, "window": window}
    if len(window) == 4 and geometry.groups == 1 and available(x.dtype):
        return partial(by_taps, **sizes, within=weight_gradient)
    convolved = faster_on_cpu(x, dy, geometry, window)
    return partial(convolved_weight_gradient if convolved else blocked_weight_gradient, **sizes)


def _space(x: Array) -> tuple[int, ...]:
    return x.shape[1:-1]


def _forward_bwd(geometry, saved, dy):
    x, kernel = saved
    return (
        input_gradient(dy, kernel, geometry, _space(x)),
        weight_gradient(x, dy, geometry, kernel.shape[:-2]),
    )


def _input_gradient_bwd(geometry, space, saved, dx):
    dy, kernel = saved
    return forward(dx, kernel, geometry), weight_gradient(dx, dy, geometry, kernel.shape[:-2])


def _weight_gradient_bwd(geometry, window, saved, dkernel):
    x, dy = saved
    return input_gradient(dy, dkernel, geometry, _space(x)), forward(x, dkernel, geometry)


def _saving(product, static: int):
    """The forward rule: the product itself, keeping both arrays."""
    return lambda *args: (product(*args), args[:-static])


forward.defvjp(_saving(forward, 1), _forward_bwd)
input_gradient.defvjp(_saving(input_gradient, 2), _input_gradient_bwd)
weight_gradient.defvjp(_saving(weight_gradient, 2), _weight_gradient_bwd)


def _in_float32(product):
    """Compute half precision in float32, as CPUs do, and round the result once."""

    def computed(a: Array, b: Array) -> Array:
        narrow = jnp.issubdtype(a.dtype, jnp.floating) and jnp.finfo(a.dtype).bits < 32
        if not narrow:
            return product(a, b)
        return product(a.astype(jnp.float32), b.astype(jnp.float32)).astype(a.dtype)

    return computed
