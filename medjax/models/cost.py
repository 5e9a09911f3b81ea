"""What one pass of a network costs: multiply-adds of its layers, counted from their shapes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.base import NetworkConfig
from medjax.nn.conv import Conv, ConvTranspose

Shape = Sequence[int] | Mapping[str, Sequence[int]]
LAYERS = (Conv, nn.Conv, ConvTranspose, nn.ConvTranspose, nn.Dense)


def multiply_adds(config: NetworkConfig, shape: Shape) -> int:
    """Multiply-adds of one forward pass over an input of `shape` `[batch, *space, channel]`.

    Of a network that takes a mapping of arrays, `shape` is the mapping of their shapes.

    Convolutions, transposed convolutions and dense layers count, as papers count them: each tap
    that meets an input sample once, zeros of the padding included. Normalisation, activation,
    resizing and projection do not. Two floating-point operations make one multiply-add. Nothing is
    computed.
    """
    total = 0

    def count(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        module, out = context.module, call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(module, LAYERS):
            total += _layer(module, args[0].shape, out.shape)
        return out

    network = config.build()
    x = like(shape)
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    with nn.intercept_methods(count):
        jax.eval_shape(lambda v, x: network.apply(v, x, train=False), variables, x)
    return total


def like(shape: Shape) -> Any:
    """The input of that shape, for `jax.eval_shape`."""
    if isinstance(shape, Mapping):
        return {name: jax.ShapeDtypeStruct(tuple(s), jnp.float32) for name, s in shape.items()}
    return jax.ShapeDtypeStruct(tuple(shape), jnp.float32)


def _layer(module: nn.Module, given: tuple[int, ...], made: tuple[int, ...]) -> int:
    if isinstance(module, Conv | nn.Conv):
        taps = math.prod(_window(module.kernel_size)) * given[-1] // module.feature_group_count
        return math.prod(made) * taps
    if isinstance(module, ConvTranspose | nn.ConvTranspose):
        return math.prod(given) * math.prod(_window(module.kernel_size)) * made[-1]
    return math.prod(made) * given[-1]


def _window(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)
