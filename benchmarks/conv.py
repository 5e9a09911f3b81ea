"""Times medjax's convolutions beside stock Flax and PyTorch (where installed).

Single layers and two U-Nets (2-D 4x256^2, base 32; 3-D 2x48^3, base 16), forward alone and one
training step (loss, gradients; for layers by the input too). Milliseconds, medians over rounds;
every round runs each implementation in turn, so that a busy machine slows all of them, a few times
in a row, as training does. Each has a process of its own, in which nothing runs while another is
timed. PyTorch runs eagerly in the faster of its two memory layouts. Ratios are medians of the
ratios of each round.
"""

import argparse
import contextlib
import importlib.util
import json
import platform
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.apart import CLOCKS, Apart, ApartError, Calls
from medjax.heap import keep_freed, start_with_large_pages
from medjax.nn.conv import Conv, ConvTranspose
from medjax.nn.norm import BatchNorm

_HAS_TORCH = importlib.util.find_spec("torch") is not None


@dataclass(frozen=True)
class Layer:
    """One convolution: input shape, features, window, stride, transposed or not."""

    shape: tuple[int, ...]
    features: int
    window: int
    stride: int = 1
    transposed: bool = False

    @property
    def name(self) -> str:
        kind = "transposed" if self.transposed else "conv"
        n = len(self.shape) - 2
        size = "x".join(map(str, self.shape[:-1]))
        return (
            f"{kind} {n}-D {self.window}^{n}/{self.stride} {size} {self.shape[-1]}>{self.features}"
        )

    def flax(self, stock: bool) -> nn.Module:
        n = len(self.shape) - 2
        plain, transposed = (nn.Conv, nn.ConvTranspose) if stock else (Conv, ConvTranspose)
        kind = transposed if self.transposed else plain
        return kind(self.features, (self.window,) * n, (self.stride,) * n, use_bias=False)


class UNet(nn.Module):
    """Four levels, strided 3^n convolutions down, transposed 4^n up, batch norm."""

    n: int
    base: int
    stock: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, transposed = (nn.Conv, nn.ConvTranspose) if self.stock else (Conv, ConvTranspose)
        norm = partial(nn.BatchNorm if self.stock else BatchNorm, use_running_average=False)
        widths = [self.base * 2**i for i in range(4)]
        one, two, three, four = ((k,) * self.n for k in (1, 2, 3, 4))
        skips = []
        for i, width in enumerate(widths):
            x = conv(width, three, two if i else one, use_bias=False)(x)
            x = nn.leaky_relu(norm()(x), 0.2)
            skips.append(x)
        skips.pop()
        for width in reversed(widths[:-1]):
            x = transposed(width, four, two, use_bias=False)(x)
            x = nn.relu(norm()(x))
            x = jnp.concatenate([x, skips.pop()], -1)
        return conv(1, three)(x)


@dataclass(frozen=True)
class Net:
    """A U-Net on an input of this shape."""

    shape: tuple[int, ...]
    base: int

    @property
    def name(self) -> str:
        size = "x".join(map(str, self.shape[:-1]))
        return f"U-Net {len(self.shape) - 2}-D {size} base {self.base}"

    def flax(self, stock: bool) -> nn.Module:
        return UNet(len(self.shape) - 2, self.base, stock)


CASES: tuple[Layer | Net, ...] = (
    Layer((4, 256, 256, 32), 32, 3),
    Layer((4, 256, 256, 32), 64, 3, 2),
    Layer((4, 128, 128, 128), 32, 4, 2, transposed=True),
    Layer((4, 256, 256, 64), 1, 3),
    Layer((2, 48, 48, 48, 16), 16, 3),
    Layer((2, 48, 48, 48, 16), 32, 3, 2),
    Layer((2, 24, 24, 24, 64), 16, 4, 2, transposed=True),
    Layer((1, 8, 16, 16, 16, 8), 8, 3),
    Net((4, 256, 256, 1), 32),
    Net((2, 48, 48, 48, 1), 16),
)


def jax_calls(case: Layer | Net, stock: bool, training: bool) -> Calls:
    """A timed call of the compiled forward pass or training step."""
    model = case.flax(stock)
    x = jax.random.normal(jax.random.key(0), case.shape)
    variables = jax.jit(model.init)(jax.random.key(1), x[:, *([slice(0, 16)] * (x.ndim - 2))])

    def apply(params, x):
        y, _ = model.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return y

    def loss(params, x):
        return jnp.abs(apply(params, x)).mean()

    by = (0, 1) if isinstance(case, Layer) else 0
    run = jax.jit(jax.value_and_grad(loss, by) if training else apply)
    compiled = run.lower(variables["params"], x).compile()
    name = "stock" if stock else "ours"
    return {name: lambda: jax.block_until_ready(compiled(variables["params"], x))}


def torch_calls(case: Layer | Net, training: bool, compiled: bool) -> Calls:
    """PyTorch's timed calls by layout; empty where it has no such layer."""
    from benchmarks.peers import torch_conv

    n = len(case.shape) - 2
    if isinstance(case, Net):
        model = torch_conv.UNet(n, case.base)
    else:
        model = torch_conv.layer(
            n, case.shape[-1], case.features, case.window, case.stride, case.transposed
        )
    if model is None:
        return {}
    return torch_conv.runs(model, case.shape, training, isinstance(case, Layer), compiled)


def measure(processes: list[Apart], options: argparse.Namespace) -> dict[str, list[float]]:
    """Times by implementation, one a round."""
    times: dict[str, list[float]] = {name: [] for each in processes for name in each.names}
    for _ in range(options.rounds):
        for each in processes:
            for name in each.names:
                times[name].append(each.milliseconds(name, options.clock, options.calls))
    return times


def row(case: Layer | Net, training: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case."""
    with contextlib.ExitStack() as ending:

        def apart(make: Callable[..., Calls], *arguments: object) -> Apart:
            return ending.enter_context(Apart(make, case, *arguments))

        ours = [apart(jax_calls, False, training)]
        if not options.no_stock:
            ours.append(apart(jax_calls, True, training))
        peers = [apart(torch_calls, training, options.torch_compile)] if _HAS_TORCH else []
        times = measure(ours + peers, options)
        layouts = [name for each in peers for name in each.names]
    medians = {name: statistics.median(t) for name, t in times.items()}
    layout = min(layouts, key=medians.__getitem__) if layouts else None
    result: dict[str, Any] = {
        "case": case.name,
        "what": "training" if training else "forward",
        "clock": options.clock,
        "ours_ms": medians["ours"],
        "stock_ms": medians.get("stock"),
        "torch_ms": medians[layout] if layout else None,
        "torch_layout": layout,
        "stock_over_ours": _ratio(times, "stock"),
        "torch_over_ours": _ratio(times, layout),
    }
    return result | asdict(case)


def _ratio(times: dict[str, list[float]], name: str | None) -> float | None:
    if name is None or name not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[name], times["ours"], strict=True))


def machine() -> dict[str, Any]:
    """Device and versions, for every row."""
    device = jax.devices()[0]
    found = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    found |= {"machine": platform.machine(), "python": platform.python_version()}
    if _HAS_TORCH:
        from benchmarks.peers import torch_conv

        found["torch"] = torch_conv.VERSION
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conv", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--calls", type=int, default=5, help="timed calls in a row (default 5)")
    parser.add_argument("--cases", default="", help="only cases that match this regex")
    parser.add_argument("--what", choices=["forward", "training"], help="only this (default both)")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="wall, or cpu: processor time of all threads, fairer on a busy machine (default wall)",
    )
    parser.add_argument("--no-stock", action="store_true", help="leave out stock Flax (slow)")
    parser.add_argument("--torch-compile", action="store_true", help="PyTorch by torch.compile")
    parser.add_argument("--out", type=Path, help="write rows as JSON to this file")
    options = parser.parse_args()
    for name in ("rounds", "calls"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: must be at least 1")
    keep_freed()
    about = machine()
    print(*(f"{k} {v}" for k, v in about.items()), sep=", ")
    head = ("ours ms", "stock ms", "torch ms", "stock/ours", "torch/ours")
    print(f"{'case':44}{'what':10}" + "".join(f"{h:>12}" for h in head))
    rows = []
    for case in CASES:
        if not re.search(options.cases, case.name):
            continue
        for training in (False, True):
            if options.what and training != (options.what == "training"):
                continue
            found = row(case, training, options)
            rows.append(found | about)
            keys = ("ours_ms", "stock_ms", "torch_ms", "stock_over_ours", "torch_over_ours")
            cells = ("" if found[k] is None else f"{found[k]:.2f}" for k in keys)
            print(
                f"{case.name:44}{found['what']:10}" + "".join(f"{c:>12}" for c in cells), flush=True
            )
    if options.out:
        unfinished = options.out.with_name(options.out.name + ".part")
        unfinished.write_text(json.dumps(rows, indent=1))
        unfinished.replace(options.out)


if __name__ == "__main__":
    start_with_large_pages()
    try:
        main()
    except ApartError as error:
        sys.exit(f"benchmarks.conv: {error}")
