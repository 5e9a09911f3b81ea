"""PyTorch's side of benchmarks/conv.py: the same layers and U-Nets, in its best memory layout."""

import copy
from collections.abc import Callable

import torch
from torch import nn

VERSION = torch.__version__

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class UNet(nn.Module):
    """Four levels, strided 3^n convolutions down, transposed 4^n up, batch norm, as in JAX."""

    def __init__(self, n: int, base: int, levels: int = 4):
        super().__init__()
        widths = [base * 2**i for i in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels = 1
        for i, width in enumerate(widths):
            conv = _CONV[n](channels, width, 3, 2 if i else 1, 1, bias=False)
            self.down.append(nn.Sequential(conv, _NORM[n](width), nn.LeakyReLU(0.2)))
            channels = width
        for width in reversed(widths[:-1]):
            conv = _TRANSPOSE[n](channels, width, 4, 2, 1, bias=False)
            self.up.append(nn.Sequential(conv, _NORM[n](width), nn.ReLU()))
            channels = 2 * width
        self.out = _CONV[n](channels, 1, 3, padding=1)

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = torch.cat([block(x), skips.pop()], 1)
        return self.out(x)


def layer(
    n: int, channels: int, features: int, window: int, stride: int, transposed: bool
) -> nn.Module | None:
    """One convolution, or None where PyTorch has none of that dimension."""
    if n not in _CONV:
        return None
    if transposed:
        return _TRANSPOSE[n](channels, features, window, stride, (window - stride) // 2, bias=False)
    return _CONV[n](channels, features, window, stride, window // 2, bias=False)


def runs(
    model: nn.Module, shape: tuple[int, ...], training: bool, inputs: bool, compiled: bool
) -> dict[str, Callable[[], None]]:
    """One timed call for each memory layout.

    Args:
        model: layer or network; copied.
        shape: of the input, `[batch, *space, channel]`.
        training: forward and backward, else forward alone.
        inputs: whether the backward pass goes down to the input.
        compiled: through `torch.compile`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layouts = {
        "contiguous": torch.contiguous_format,
        "channels last": _CHANNELS_LAST[len(shape) - 2],
    }
    found: dict[str, Callable[[], None]] = {}
    for name, layout in layouts.items():
        x = torch.randn(shape[0], shape[-1], *shape[1:-1], device=device)
        x = x.to(memory_format=layout).requires_grad_(training and inputs)
        net = copy.deepcopy(model).to(device).to(memory_format=layout)  # pyright: ignore
        if compiled:
            net.compile()
        found[name] = _call(net, x, training)
    return found


def _call(net: nn.Module, x: torch.Tensor, training: bool) -> Callable[[], None]:
    def call() -> None:
        if training:
            x.grad = None
            for parameter in net.parameters():
                parameter.grad = None
            net(x).abs().mean().backward()
        else:
            with torch.no_grad():
                net(x)
        if x.is_cuda:
            torch.cuda.synchronize()

    return call
