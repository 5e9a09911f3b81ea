"""fMRI series with a 3-D cGAN, volume by volume: what fmri_cgan4d gains by seeing time.

    medjax train fmri_cgan3d

Networks of the same widths and the same patches as in fmri_cgan4d, but each volume is restored by
itself: a slice that is lost altogether can only be guessed from its neighbours in space. The table
in fmri_cgan4d shows both. The `full` setting was not run. A training step of `cpu` plans for 37 MiB
of intermediate results by XLA's CPU compiler: python -m benchmarks.memory fmri_cgan3d
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.fmri import FMRISeries

full = Experiment(
    name="fmri_cgan3d",
    summary="3-D cGAN, volume by volume, for fMRI with moving and lost slices and noise",
    task=FMRISeries(volumewise=True),
    network=UNetConfig(width=32, depth=2, norm="none"),
    method=CGAN(discriminator=PatchGANConfig(width=32, layers=1, norm="none")),
    data=Data(name="fmri_series", patch=(16, 8, 48, 48), batch=8),
    schedule=Schedule(steps=30_000, peak=5e-4, end=5e-6, warmup=500, clip=1.0),
    tiling=Tiling(size=(16, 8, 64, 64), overlap=(4, 2, 16, 16), batch=1),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=UNetConfig(width=8, depth=1, norm="none"),
    method=CGAN(discriminator=PatchGANConfig(width=8, layers=1, norm="none"), ema_decay=0.99),
    data=Data(name="fmri_samples", patch=(8, 6, 24, 24), batch=2),
    schedule=Schedule(steps=700, peak=2e-3, end=2e-5, warmup=20, clip=1.0),
    tiling=Tiling(size=(8, 6, 24, 24), overlap=(3, 2, 6, 6), batch=4),
    keep=Keep(save_every=350, log_every=10),
)
