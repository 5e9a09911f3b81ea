"""medjax's weights and images in PyTorch's layouts."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

# Flax's names of statistics and of vectors.
_SAME = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def load(
    net: nn.Module,
    variables: Mapping[str, Any],
    *,
    mirrored: bool = True,
    renamed: Mapping[str, str] | None = None,
) -> nn.Module:
    """Copies Flax variables into a network whose modules have the same names; returns it.

    Args:
      net: changed in place.
      variables: `{"params": ..., "batch_stats": ...}`.
      mirrored: for a network that restores mirror images (torch_layers.py).
      renamed: paths of modules, where they have other names here.

    Raises:
      ValueError: a parameter or statistic is left without a value, or shapes differ.
    """
    left = {name: tensor for name, tensor in net.named_parameters() if tensor.requires_grad}
    known = {id(tensor) for tensor in left.values()}
    for path, value in _leaves(variables):
        *modules, leaf = path
        where = ".".join(modules)
        module = net.get_submodule((renamed or {}).get(where, where))
        name = "weight" if leaf == "kernel" else _SAME[leaf]
        target, array = getattr(module, name), np.asarray(value)
        if leaf == "kernel":
            array = _kernel(module, array, mirrored)
        if tuple(target.shape) != array.shape:
            raise ValueError(f"{where}.{leaf}: {array.shape} here, {tuple(target.shape)} there")
        with torch.no_grad():
            target.copy_(torch.tensor(array.copy()))
        known.discard(id(target))
    if known:
        missing = [name for name, tensor in left.items() if id(tensor) in known]
        raise ValueError(f"without a value: {', '.join(missing)}")
    return net


def image(x: Float[np.ndarray, "batch *space channel"], *, mirrored: bool = True) -> torch.Tensor:
    """`[batch, channel, *space]`, mirrored along every axis of space."""
    x = np.moveaxis(np.asarray(x), -1, 1)
    if mirrored:
        x = np.flip(x, tuple(range(2, x.ndim)))
    return torch.tensor(x.copy())


def back(x: torch.Tensor, *, mirrored: bool = True) -> Float[np.ndarray, "batch *space channel"]:
    """The inverse of `image`."""
    array = x.detach().float().cpu().numpy()
    if mirrored:
        array = np.flip(array, tuple(range(2, array.ndim)))
    return np.moveaxis(array, 1, -1)


def _kernel(module: nn.Module, array: np.ndarray, mirrored: bool) -> np.ndarray:
    """Flax's `[*window, channel, features]` as the module has it."""
    window = tuple(range(array.ndim - 2))
    transposed = "Transpose" in type(module).__name__
    # Flax's transposed convolution has its window the other way round than PyTorch's.
    if mirrored != transposed:
        array = np.flip(array, window)
    ends = (array.ndim - 2, array.ndim - 1)
    return array.transpose(*(ends if transposed else ends[::-1]), *window)


def _leaves(variables: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    def walk(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if not isinstance(tree, Mapping):
            yield path, tree
            return
        for name, value in tree.items():
            yield from walk(value, (*path, name))

    for collection in variables.values():
        yield from walk(collection, ())
