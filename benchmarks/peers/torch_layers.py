"""medjax's blocks in PyTorch, for 2, 3 and 4 dimensions, written as PyTorch users write them.

Arrays are `[batch, channel, *space]`. Children are named as Flax names them, so that weights are
found by path (torch_weights.py). Strided convolutions pad with `padding=1`: XLA's SAME puts the odd
zero at the far end and PyTorch's leaves it at the near one, so these networks restore the mirror
image with mirrored kernels, at no cost to either.
"""

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.2
_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Named(nn.Module):
    """A module whose children are numbered by kind, in the order in which they are made."""

    def child(self, kind: str, module: nn.Module) -> nn.Module:
        number = sum(name.rpartition("_")[0] == kind for name in self._modules)
        self.add_module(f"{kind}_{number}", module)
        return module


class Conv4d(nn.Module):
    """A 4-D convolution, which PyTorch lacks: the sum of one 3-D convolution a tap over time."""

    def __init__(self, channels: int, features: int, window: int, stride: int, padding: int, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, channels, *(window,) * 4))
        self.bias = nn.Parameter(torch.empty(features)) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window, times = self.weight.shape[2], x.shape[2]
        count = (times + 2 * self.padding - window) // self.stride + 1
        x = functional.pad(x, (0,) * 6 + (self.padding,) * 2)
        total = None
        for tap in range(window):
            seen = x[:, :, tap : tap + (count - 1) * self.stride + 1 : self.stride]
            bias = self.bias if tap == 0 else None
            part = functional.conv3d(
                together(seen), self.weight[:, :, tap], bias, self.stride, self.padding
            )
            total = part if total is None else total + part
        assert total is not None
        return apart(total, len(x))


class ConvTranspose4d(nn.Module):
    """The transposed one, 4 taps and stride 2: every second time of the output from two taps."""

    def __init__(self, channels: int, features: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, features, 4, 4, 4, 4))
        self.bias = nn.Parameter(torch.empty(features)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = together(x)
        taps = [
            apart(
                functional.conv_transpose3d(frames, w, self.bias if t in (1, 2) else None, 2, 1),
                len(x),
            )
            for t, w in enumerate(self.weight.unbind(2))
        ]
        # Time 2m takes tap 1 of frame m and tap 3 of the one before; 2m + 1 taps 2 and 0.
        even = taps[1] + functional.pad(taps[3][:, :, :-1], (0,) * 6 + (1, 0))
        odd = taps[2] + functional.pad(taps[0][:, :, 1:], (0,) * 6 + (0, 1))
        return torch.stack([even, odd], 3).flatten(2, 3)


class BatchNorm4d(nn.BatchNorm3d):
    """Over `[batch, channel, t, z, y, x]`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.flatten(2, 3)).view_as(input)


def together(x: torch.Tensor) -> torch.Tensor:
    """Times into the batch: `[batch, channel, t, ...]` to `[batch * t, channel, ...]`."""
    return x.transpose(1, 2).flatten(0, 1)


def apart(x: torch.Tensor, batch: int) -> torch.Tensor:
    """Undoes `together`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


def conv(
    dims: int, channels: int, features: int, window: int, stride=1, padding=None, bias=True
) -> nn.Module:
    """A convolution; by default it keeps the size at stride 1."""
    padding = window // 2 if padding is None else padding
    kind = _CONV.get(dims, Conv4d)
    return kind(channels, features, window, stride, padding, bias=bias)


class NoPeerError(ValueError):
    """Settings of a network that are not written in PyTorch here."""


class Normalise(Named):
    """Batch normalisation, or nothing."""

    def __init__(self, dims: int, features: int, norm: str):
        super().__init__()
        if norm not in ("batch", "none"):
            raise NoPeerError(f"the peer has no {norm} norm")
        layer = _NORM.get(dims, BatchNorm4d)(features) if norm == "batch" else nn.Identity()
        self.layer = self.child("BatchNorm", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class ConvUnit(Named):
    """Convolution, normalisation, LeakyReLU."""

    def __init__(
        self, dims: int, channels: int, features: int, *, norm="none", kernel=3, stride=1, padding=1
    ):
        super().__init__()
        layer = conv(dims, channels, features, kernel, stride, padding, bias=norm == "none")
        self.conv = self.child("Conv", layer)
        self.norm = self.child("Normalise", Normalise(dims, features, norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)


class ResidualBlock(Named):
    """`x` plus two convolutions of it."""

    def __init__(self, dims: int, features: int, norm: str):
        super().__init__()
        self.unit = self.child("ConvUnit", ConvUnit(dims, features, features, norm=norm))
        self.conv = self.child("Conv", conv(dims, features, features, 3, bias=norm == "none"))
        self.norm = self.child("Normalise", Normalise(dims, features, norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv(self.unit(x)))


class Upsample(Named):
    """Doubles every dimension: a 4-tap transposed convolution, or repeat and convolve."""

    def __init__(self, dims: int, channels: int, features: int, norm="none", mode="transpose"):
        super().__init__()
        self.dims, self.mode = dims, mode
        if mode == "nearest":
            self.unit = self.child("ConvUnit", ConvUnit(dims, channels, features, norm=norm))
            return
        bias = norm == "none"
        layer = (
            _TRANSPOSE[dims](channels, features, 4, 2, 1, bias=bias)
            if dims in _TRANSPOSE
            else ConvTranspose4d(channels, features, bias)
        )
        self.conv = self.child("ConvTranspose", layer)
        self.norm = self.child("Normalise", Normalise(dims, features, norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "nearest":
            return self.unit(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return functional.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)


def padded(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Reflected at the near ends (of the mirror image) up to a multiple."""
    lacks = [-n % multiple for n in x.shape[2:]]
    if not any(lacks):
        return x
    return functional.pad(x, [p for lack in reversed(lacks) for p in (lack, 0)], mode="reflect")


def finished(h: torch.Tensor, given: torch.Tensor, out: int, residual: bool) -> torch.Tensor:
    """The restored image in float32, what was padded cut off; added to what was given."""
    h = h[(..., *(slice(a - b, None) for a, b in zip(h.shape[2:], given.shape[2:], strict=True)))]
    return given[:, :out].float() + h.float() if residual else h.float()
