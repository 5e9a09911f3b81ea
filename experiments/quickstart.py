"""Low-dose CT with a 2-D cGAN on the slices that come with pydicom: the first thing to run.

medjax train quickstart
"""

import dataclasses

from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="quickstart",
    summary="2-D cGAN for quarter-dose CT on bundled real slices",
    task=LowDoseCT(),
    network=UNetConfig(width=64, depth=3, norm="none", full_resolution_blocks=2),
    method=CGAN(discriminator=PatchGANConfig(width=64)),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=UNetConfig(width=24, depth=2, convs_per_level=1, norm="none", full_resolution_blocks=2),
    method=CGAN(discriminator=PatchGANConfig(width=16, layers=2), ema_decay=0.995),
    data=Data(name="ct_samples", patch=64, batch=16),
    schedule=Schedule(steps=1500, peak=2e-3, end=2e-5),
    keep=Keep(save_every=250, log_every=20),
)
