"""The least experiment that trains: white noise on small images, one convolution."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import L2
from medjax.methods.base import Pair
from medjax.methods.config import Regression
from medjax.metrics.column import Column
from medjax.models.base import NetworkConfig
from medjax.tasks.base import Case, Task


@dataclasses.dataclass(frozen=True)
class Denoise(Task):
    """White noise of one strength."""

    std: float = 0.5

    dims: ClassVar[int] = 2
    unit: ClassVar[str] = ""
    background: ClassVar[float] = 0.0
    degraded_name: ClassVar[str] = "noisy"
    reference_name: ClassVar[str] = "clean"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "PSNR", "dB", "high"),
        Column("error", "error", "", "low", 4),
        Column("level", "level", "", "reference", 4),
        Column("size", "size"),
    )
    filters: ClassVar[tuple[str, ...]] = ()

    title: ClassVar[str] = "Toy"
    note: ClassVar[str] = ""
    display: ClassVar[tuple[float, float]] = (-2.0, 2.0)

    def check(self, record) -> None: ...

    def prepare(self, raw, key) -> Pair:
        clean = raw["image"]
        return Pair(clean + self.std * jax.random.normal(key, clean.shape), clean)

    def simulate(self, record, seed: int) -> Case:
        clean = record["image"]
        noise = np.random.default_rng(seed).normal(0, self.std, clean.shape).astype(np.float32)
        return Case(record["case"], clean + noise, clean, self.std, None)

    def encode(self, degraded):
        return degraded

    def decode(self, restored):
        return restored

    def judge(self, case: Case, restored) -> dict[str, float]:
        error = float(np.mean((restored - case.reference) ** 2))
        psnr = -10 * np.log10(max(error, 1e-12))
        return {"psnr": psnr, "error": error, "level": float(np.mean(restored)), "size": 1.0}


class Smooth(nn.Module):
    kernel: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Conv(1, (self.kernel,) * 2, kernel_init=nn.initializers.ones)(x) / self.kernel**2


@dataclasses.dataclass(frozen=True)
class SmoothConfig(NetworkConfig):
    kernel: int = 3
    biased: bool = True

    def __post_init__(self) -> None:
        if self.kernel > 9:
            raise ValueError(f"kernel {self.kernel}: too large")

    def build(self) -> nn.Module:
        if self.kernel < 1:
            raise ValueError(f"kernel {self.kernel}: must be positive")
        return Smooth(self.kernel)


cpu = Experiment(
    name="toy",
    summary="a toy",
    task=Denoise(),
    network=SmoothConfig(),
    method=Regression(ema_decay=0.0),
    loss=L2(),
    data=Data(name="toy", patch=16, batch=2, threads=1),
    schedule=Schedule(steps=3, peak=1e-2, end=1e-4),
    tiling=Tiling(size=24, overlap=4),
    keep=Keep(save_every=1, log_every=1, checkpoints=1),
)
full = cpu
