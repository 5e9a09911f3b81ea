"""The run that `benchmarks.soak` lets die: quickstart's GAN and data, small enough for seconds."""

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from medjax.evaluate import Tiling
from medjax.experiment import Data, Keep, find, load
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.base import Record
from medjax.tasks.ldct import LowDoseCT

# While the file that this variable names is there, what is read is not a number.
SPOILT = "MEDJAX_SOAK_SPOILT"


@dataclasses.dataclass(frozen=True)
class SpoiltCT(LowDoseCT):
    """Low-dose CT whose reader gives NaN on demand, as a broken detector or disk might."""

    filters: ClassVar[tuple[str, ...]] = ("median 3",)

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        found = super().context(record, corner, patch)
        if Path(os.environ[SPOILT]).exists():
            found["line_integrals"] = np.full_like(found["line_integrals"], np.nan)
        return found


_base = load(find("quickstart"), "cpu")
cpu = dataclasses.replace(
    _base,
    name="soak",
    task=SpoiltCT(views=90, train_dose=(0.1, 0.6)),
    network=UNetConfig(width=4, depth=1, convs_per_level=1, norm="none"),
    method=CGAN(discriminator=PatchGANConfig(width=4, layers=1)),
    data=Data(patch=32, batch=4),
    tiling=Tiling(size=256, overlap=16),
    keep=Keep(save_every=10, log_every=1),
)
