"""Floating-point operations of a program, counted from its jaxpr.

Matrix products and convolutions count, at two operations a multiply-add; what is done number by
number does not, as everywhere where MFU is quoted. A tap of a convolution counts where it meets a
sample: neither zeros of the padding nor holes of a dilation count, which is XLA's own rule
(`HloCostAnalysis`) and makes a convolution and its two gradients cost exactly the same.

Bodies of `scan` count once a round, of branches the dearest counts, `jit`, `custom_vjp`, `remat`
and the like are walked into, and what no output needs is left out, as compilers do.
`lax.platform_dependent` is followed along one platform: `default` is the program before anything
is folded for CPUs. What cannot be counted is named, never guessed.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params
from jax.interpreters import partial_eval

from medjax.nn import onednn_library
from medjax.nn.onednn import Problem

# Work that is no matrix product: by other libraries' kernels, or by other algorithms.
_NAMED = frozenset(
    (
        *("fft", "cholesky", "triangular_solve", "tridiagonal_solve", "eigh", "eig", "qr", "lu"),
        *("svd", "schur", "householder_product", "ragged_dot", "ragged_dot_general", "scaled_dot"),
        *("ffi_call", "custom_call", "pallas_call", "pure_callback", "io_callback"),
    )
)


@dataclass
class Count:
    """Operations of a program.

    Attributes:
      flops: of each counted primitive, by its name.
      named: how often what is not counted runs, by its name; a `while` of unknown length whose
        body holds products is among them, the body counted once.
    """

    flops: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.flops.values())

    def add(self, other: "Count", times: int = 1) -> None:
        """Adds what runs so many times."""
        for name, number in other.flops.items():
            self.flops[name] += times * number
        for name, number in other.named.items():
            self.named[name] += times * number


def count(function: Callable[..., Any], *args: Any, platform: str = "default") -> Count:
    """Operations of `function` on arguments of these shapes; nothing is computed.

    Args:
      function: traceable.
      args: arrays or `jax.ShapeDtypeStruct`s, in pytrees.
      platform: whose branch of `lax.platform_dependent` counts: "cpu", "cuda", "tpu" ... or
        "default".
    """
    closed = jax.make_jaxpr(function)(*args)
    return _walk(closed.jaxpr, platform)


def _walk(jaxpr: Jaxpr, platform: str) -> Count:
    # JAX has no public pass for dead code outside `jax.interpreters`.
    live, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    total = Count()
    for eqn in live.eqns:
        total.add(_equation(eqn, platform))
    return total


def _equation(eqn: JaxprEqn, platform: str) -> Count:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return Count(Counter({name: dot_flops(eqn)}))
    if name == "conv_general_dilated":
        return Count(Counter({name: convolution_flops(eqn)}))
    if name == "ffi_call" and params["target_name"] == onednn_library.TARGET:
        return Count(Counter({name: library_flops(eqn)}))
    if name in _NAMED:
        return Count(named=Counter({_title(eqn): 1}))
    if name == "cond":
        return _branch(params, platform)
    if name == "while":
        return _loop(params, platform)
    within = Count()
    for jaxpr in jaxprs_in_params(params):
        within.add(_walk(jaxpr, platform))
    total = Count()
    total.add(within, params["length"] if name == "scan" else 1)
    return total


def _branch(params: Mapping[str, Any], platform: str) -> Count:
    """The dearest branch or, of a choice by platform, that platform's."""
    branches = [branch.jaxpr for branch in params["branches"]]
    platforms = params.get("branches_platforms")
    if platforms is not None:
        known = [i for i, names in enumerate(platforms) if names is not None and platform in names]
        default = [i for i, names in enumerate(platforms) if names is None]
        return _walk(branches[(known or default)[0]], platform)
    return max((_walk(branch, platform) for branch in branches), key=lambda found: found.total)


def _loop(params: Mapping[str, Any], platform: str) -> Count:
    """A loop of unknown length: named where its body or its condition holds products."""
    once = Count()
    for part in ("cond_jaxpr", "body_jaxpr"):
        once.add(_walk(params[part].jaxpr, platform))
    if once.total or once.named:
        once.named["while"] += 1
    return once


def _title(eqn: JaxprEqn) -> str:
    """A primitive's name, with that of the library's function it calls."""
    target = eqn.params.get("target_name") or eqn.params.get("call_target_name")
    return f"{eqn.primitive.name} {target}" if target else eqn.primitive.name


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def dot_flops(eqn: JaxprEqn) -> int:
    """Of a matrix product: two for each number of the output and summed index."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = _shape(eqn.invars[0])
    return 2 * math.prod(_shape(eqn.outvars[0])) * math.prod(left[axis] for axis in contracted)


def convolution_flops(eqn: JaxprEqn) -> int:
    """Of a convolution, grouped, strided or dilated: two for each tap that meets a sample."""
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    left, right = (_shape(v) for v in eqn.invars[:2])
    out = _shape(eqn.outvars[0])
    pairs = 1
    for axis in range(len(numbers.lhs_spec) - 2):
        pairs *= meetings(
            size=left[numbers.lhs_spec[axis + 2]],
            taps=right[numbers.rhs_spec[axis + 2]],
            positions=out[numbers.out_spec[axis + 2]],
            stride=params["window_strides"][axis],
            low=params["padding"][axis][0],
            holes=params["lhs_dilation"][axis],
            spread=params["rhs_dilation"][axis],
        )
    # With groups, of channels or of the batch, an output sees the kernel's channels alone.
    images = out[numbers.out_spec[0]]
    return 2 * images * out[numbers.out_spec[1]] * right[numbers.rhs_spec[1]] * pairs


def library_flops(eqn: JaxprEqn) -> int:
    """Of a convolution by oneDNN or one of its gradients, which cost the same."""
    problem = Problem.read(dict(eqn.params["attributes"])["problem"].val)
    geometry = problem.geometry
    pairs = math.prod(
        meetings(size, taps, positions, stride=stride, low=low, spread=spread)
        for size, taps, positions, stride, (low, _), spread in zip(
            problem.x[1:-1],
            problem.kernel[:-2],
            problem.y[1:-1],
            geometry.strides,
            geometry.pads,
            geometry.dilation,
            strict=True,
        )
    )
    return 2 * problem.x[0] * math.prod(problem.kernel[-2:]) * pairs


def meetings(
    size: int,
    taps: int,
    positions: int,
    *,
    stride: int = 1,
    low: int = 0,
    holes: int = 1,
    spread: int = 1,
) -> int:
    """How often a tap meets a sample along one axis.

    Args:
      size: samples.
      taps: of the kernel.
      positions: of the output.
      stride: between positions.
      low: zeros before the first sample.
      holes: distance of neighbouring samples, 1 without dilation.
      spread: distance of neighbouring taps.
    """
    return sum(
        1
        for position in range(positions)
        for tap in range(taps)
        if (place := position * stride + tap * spread - low) % holes == 0
        and 0 <= place // holes < size
    )
