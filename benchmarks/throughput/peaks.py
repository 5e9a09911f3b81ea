"""What devices can do at most, for MFU: dense peaks as their makers print them, or measured.

Operations a second, two a multiply-add, without sparsity, of one device as JAX sees it. "float32"
is what a float32 product runs on by default: TF32 tensor cores from Ampere on, plain float32
before, and on TPUs, whose units multiply bfloat16, their bfloat16 peak. Where datasheets print
TF32 and BF16 with sparsity, half of it stands here.
"""

import re
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from medjax.nn.blocks import Precision

_H100 = "https://resources.nvidia.com/en-us-gpu-resources/h100-datasheet-24306"
_H200 = "https://www.nvidia.com/en-us/data-center/h200/"
_A100 = (
    "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
    "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)
_L4 = "https://www.nvidia.com/en-us/data-center/l4/"
_L40S = "https://www.nvidia.com/en-us/data-center/l40s/"
_T4 = "https://www.nvidia.com/en-us/data-center/tesla-t4/"
_V100 = (
    "https://images.nvidia.com/content/technologies/volta/pdf/"
    "volta-v100-datasheet-update-us-1165301-r5.pdf"
)
_TPU = "https://cloud.google.com/tpu/docs/"

# Pattern of the whole device kind: TFLOP/s in float32 and bfloat16 (None: no such units), source.
# A slice of a GPU (MIG) has another kind and is measured.
_TABLE: tuple[tuple[str, float, float | None, str], ...] = (
    (r"NVIDIA H100 80GB HBM3", 494.7, 989.4, _H100),  # SXM
    (r"NVIDIA H100 PCIe", 378.0, 756.0, _H100),
    (r"NVIDIA H100 NVL", 417.5, 835.5, _H100),
    (r"NVIDIA H200", 494.7, 989.4, _H200),  # SXM
    (r"NVIDIA H200 NVL", 417.5, 835.5, _H200),
    (r"NVIDIA A100-(SXM4|PCIE)-\d+GB|NVIDIA A100 80GB PCIe", 156.0, 312.0, _A100),
    (r"NVIDIA L4", 60.0, 121.0, _L4),
    (r"NVIDIA L40S", 183.0, 362.0, _L40S),
    (r"Tesla T4", 8.1, None, _T4),
    (r"Tesla V100-SXM2-\d+GB", 15.7, None, _V100),
    (r"Tesla V100-PCIE-\d+GB", 14.0, None, _V100),
    (r"TPU v4", 275.0, 275.0, _TPU + "v4"),
    (r"TPU v5 ?lite|TPU v5e", 197.0, 197.0, _TPU + "v5e"),
    (r"TPU v5p?", 459.0, 459.0, _TPU + "v5p"),
    (r"TPU v6 ?lite|TPU v6e", 918.0, 918.0, _TPU + "v6e"),
)
# Sides of square matrices; the fastest counts.
_SIDES = {"cpu": (512, 1024, 2048), "other": (2048, 4096, 8192)}
_TRIES = 5


@dataclass(frozen=True)
class Peak:
    """Operations a second that a device can do at most.

    Attributes:
      flops: a second.
      source: an address, or how it was measured.
    """

    flops: float
    source: str


def peak(device: Any, dtype: Precision) -> Peak:
    """The device's peak by its maker, else the fastest matrix product that is measured on it."""
    return published(device.device_kind, dtype) or measured(device, dtype)


def published(kind: str, dtype: Precision) -> Peak | None:
    """What the maker prints of a device kind, or None where the table has nothing."""
    for pattern, single, half, source in _TABLE:
        if re.fullmatch(pattern, kind):
            found = single if dtype == "float32" else half
            return None if found is None else Peak(found * 1e12, source)
    return None


def measured(device: Any, dtype: Precision) -> Peak:
    """The fastest of some square matrix products.

    On CPU in float32 whatever the type asked for: medjax computes half precision so there.
    """
    cpu = device.platform == "cpu"
    kind = jnp.dtype("float32" if cpu else dtype)
    found = {side: _product(device, side, kind) for side in _SIDES["cpu" if cpu else "other"]}
    side = max(found, key=found.__getitem__)
    return Peak(
        found[side],
        f"measured: the fastest of {_TRIES} {kind.name} products of {side} x {side} matrices",
    )


def _product(device: Any, side: int, dtype: jnp.dtype) -> float:
    """Operations a second of the fastest try."""
    matrix = jax.device_put(jnp.ones((side, side), dtype), device)
    multiply = jax.jit(jnp.dot).lower(matrix, matrix).compile()
    jax.block_until_ready(multiply(matrix, matrix))
    times = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        jax.block_until_ready(multiply(matrix, matrix))
        times.append(time.perf_counter() - begin)
    return 2 * side**3 / min(times)
