"""RED-CNN and CNN10 in PyTorch, trained as people train them: plain layers, squared error, Adam.

Layers are those of ldct-benchmark (Eulig et al., Med Phys 2024), which are the papers' but for
RED-CNN's last ReLU. Everything in float32, on the GPU where PyTorch sees one, else on all cores as
PyTorch uses them by itself. JAX takes most of a GPU's memory at its start; where both share one,
set XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from torch.nn import functional

VERSION = str(torch.__version__)

Pair = tuple[Float32[np.ndarray, "batch 1 y x"], Float32[np.ndarray, "batch 1 y x"]]
"""Noisy and clean images."""


class REDCNN(nn.Module):
    """Five convolutions, five transposed ones, three shortcuts (Chen et al., arXiv:1702.00288)."""

    def __init__(self, width: int = 96):
        super().__init__()
        ends = [1, *[width] * 5]
        pairs = list(itertools.pairwise(ends))
        self.down = nn.ModuleList([nn.Conv2d(a, b, 5) for a, b in pairs])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 5) for a, b in reversed(pairs)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcuts = [x]
        for i, layer in enumerate(self.down):
            x = functional.relu(layer(x))
            if i in (1, 3):
                shortcuts.append(x)
        for i, layer in enumerate(self.up):
            x = layer(x if i == 0 else functional.relu(x))
            if i in (0, 2, 4):
                x = x + shortcuts.pop()
        return x


def cnn10() -> nn.Module:
    """Three convolutions (Chen et al., Biomed Opt Express 8:679)."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 9, padding=4),
        nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 1, 5, padding=2),
    )


def device() -> torch.device:
    """Where to train."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Effort(NamedTuple):
    """What a training took.

    Attributes:
      steps: of the optimiser.
      seconds: from the first step to the last, all of it.
      making: seconds of those in which the pairs were made.
    """

    steps: int
    seconds: float
    making: float


def fit(
    net: nn.Module, pairs: Iterator[Pair], budget: float, rate: Callable[[float], float]
) -> Effort:
    """Trains until the budget is used up, at least one step.

    The clock starts when a copy of the net has made a few steps in either memory layout, of which
    the faster is taken; making the pairs counts.

    Args:
      net: trained where it is; it ends on the device and in the layout it was trained in.
      pairs: without end.
      budget: seconds.
      rate: learning rate for the share of the budget that is used up, 0 to 1.
    """
    net.to(device())
    first = next(pairs)
    layout = _faster_layout(net, first)
    net.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(net.parameters())
    steps, making, spent = 0, 0.0, 0.0
    begin = time.perf_counter()
    while steps == 0 or spent < budget:
        for group in optimizer.param_groups:
            group["lr"] = rate(min(spent / budget, 1.0))
        asked = time.perf_counter()
        pair = first if steps == 0 else next(pairs)
        making += time.perf_counter() - asked
        _step(net, optimizer, pair, layout)
        steps, spent = steps + 1, time.perf_counter() - begin
    return Effort(steps, spent, making)


def restore(
    net: nn.Module, image: Float32[np.ndarray, "y x"], window: tuple[float, float]
) -> Float32[np.ndarray, "y x"]:
    """The whole image at once, in HU; the window is what the net knows as 0 to 1."""
    low, high = window
    where = next(net.parameters()).device
    with torch.no_grad():
        # Copied: what JAX made is read-only, which PyTorch warns of.
        scaled = (torch.tensor(np.ascontiguousarray(image), device=where) - low) / (high - low)
        restored = net(scaled[None, None])[0, 0] * (high - low) + low
        return restored.cpu().numpy()


def _step(
    net: nn.Module, optimizer: torch.optim.Optimizer, pair: Pair, layout: torch.memory_format
) -> None:
    where = next(net.parameters()).device
    noisy, clean = (torch.from_numpy(x).to(where, memory_format=layout) for x in pair)
    optimizer.zero_grad()
    functional.mse_loss(net(noisy), clean).backward()
    optimizer.step()
    if where.type == "cuda":
        torch.cuda.synchronize()


def _faster_layout(net: nn.Module, pair: Pair) -> torch.memory_format:
    """By the faster of two steps each, after one that does not count."""
    took = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        tried = copy.deepcopy(net).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        optimizer = torch.optim.Adam(tried.parameters())
        _step(tried, optimizer, pair, layout)
        times = []
        for _ in range(2):
            begin = time.perf_counter()
            _step(tried, optimizer, pair, layout)
            times.append(time.perf_counter() - begin)
        took[layout] = min(times)
    return min(took, key=lambda layout: took[layout])
