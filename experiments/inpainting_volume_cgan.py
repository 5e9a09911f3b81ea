"""Missing slices and blocks of MR volumes with a 3-D cGAN.

    medjax train inpainting_volume_cgan

Volumes come from `mri_t1` (`medjax data prepare FOLDER --name mri_t1 --dims 3`). A fifth of the
slices and blocks over a twentieth of the volume are missing. In a file of your own, set missing
samples to -1. The `full` setting was not run.

`python -m benchmarks.restoration --suite volumes --seeds 0 --draws 2` (`cpu` setting, two heads of
other people, seed 0), PSNR and SSIM in the gaps:

    nearest fill                          21.82 dB / 0.8876
    linear fill                           23.08 dB / 0.8905
    biharmonic fill                       25.06 dB / 0.9167
    3-D cGAN                              24.57 dB / 0.9032
    2-D cGAN, slice by slice              23.92 dB / 0.8801

The 3-D network is ahead of the 2-D one by 0.65 dB [0.47, 0.91] and 0.0231 [0.0134, 0.0268] in SSIM.
Both are behind the biharmonic fill, which solves an equation in each gap, the 3-D one by 0.49 dB
[0.10, 1.06].
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import CGAN
from medjax.models.masked import MaskedConfig
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.inpainting import VolumeInpainting

full = Experiment(
    name="inpainting_volume_cgan",
    summary="3-D cGAN that fills missing slices and blocks of MR volumes",
    task=VolumeInpainting(),
    network=MaskedConfig(
        UNetConfig(width=32, depth=3, max_width=256, norm="none", full_resolution_blocks=1)
    ),
    method=CGAN(discriminator=PatchGANConfig(width=32, layers=2, norm="none")),
    data=Data(name="mri_t1", patch=(48, 64, 64), batch=4, threads=4),
    schedule=Schedule(steps=20_000, peak=5e-4, end=2e-6, warmup=200, clip=1.0),
    tiling=Tiling(size=(64, 96, 96), overlap=16, batch=1),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=MaskedConfig(
        UNetConfig(width=8, depth=2, max_width=64, norm="none", full_resolution_blocks=1)
    ),
    method=CGAN(discriminator=PatchGANConfig(width=8, layers=2, norm="none"), ema_decay=0.99),
    data=Data(name="mri_t1", patch=(24, 40, 40), batch=2),
    schedule=Schedule(steps=1000, peak=2e-3, end=1e-5, warmup=50, clip=1.0),
    tiling=Tiling(size=(48, 64, 64), overlap=8, batch=1),
    keep=Keep(save_every=200, log_every=20),
)
