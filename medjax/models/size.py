"""Networks of equal size: how many parameters a network has, and the width that gives so many."""

import dataclasses
import functools
import math
from typing import TypeVar

import jax

from medjax.models.base import NetworkConfig
from medjax.models.cost import Shape, like

Config = TypeVar("Config", bound=NetworkConfig)


def parameter_count(config: NetworkConfig, *, dims: int = 2, channels: int = 1) -> int:
    """Learned numbers of a network for `dims` spatial dimensions and so many input channels."""
    return parameters(config, (1, *(1,) * dims, channels))


def parameters(config: NetworkConfig, shape: Shape) -> int:
    """Learned numbers of a network for inputs of that shape, or of those (`cost.Shape`)."""
    variables = jax.eval_shape(config.build().init, jax.random.key(0), like(shape))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def with_parameters(config: Config, count: int, *, dims: int = 2, channels: int = 1) -> Config:
    """`config` at the `width` that brings its number of parameters nearest to `count`.

    Raises:
        ValueError: the config has no `width`, or refuses the one that it would need.
    """
    if "width" not in {field.name for field in dataclasses.fields(config)}:
        raise ValueError(f"{type(config).__name__} has no width to choose")

    def resized(width: int) -> Config:
        return dataclasses.replace(config, width=width)  # pyright: ignore[reportCallIssue]

    @functools.cache
    def size(width: int) -> int:
        return parameter_count(resized(width), dims=dims, channels=channels)

    # Parameters grow nearly with the square of the width, so two guesses land beside it.
    width = config.width  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(2):
        width = max(1, round(width * math.sqrt(count / size(width))))
    while size(width) < count:
        width += 1
    while width > 1 and size(width - 1) >= count:
        width -= 1
    candidates = [w for w in (width - 1, width) if w >= 1]
    return resized(min(candidates, key=lambda width: abs(size(width) - count)))
