"""Missing slices and blocks of MR volumes with a 2-D cGAN, slice by slice.

    medjax train inpainting_volume_cgan2d

What `inpainting_volume_cgan` has to beat: the same volumes, gaps, patches and steps. The first
guess is interpolated in the volume, from the neighbouring slices too; the network sees it and the
mask one axial slice at a time, and has more parameters and multiply-adds a voxel.

`python -m benchmarks.restoration --suite volumes --draws 2` (`cpu` settings, both test heads, two
sets of gaps, three training seeds) printed 23.88 dB, 0.8881 in SSIM and 0.0284 in MAE inside the
gaps, beside 24.49 dB, 0.9024 and 0.0255 of the 3-D network, whose docstring has the other rows. The
`full` setting was not run.
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
    name="inpainting_volume_cgan2d",
    summary="2-D cGAN that fills missing slices and blocks of MR volumes, slice by slice",
    task=VolumeInpainting(slicewise=True),
    network=MaskedConfig(UNetConfig(width=40, depth=4, norm="none", full_resolution_blocks=1)),
    method=CGAN(discriminator=PatchGANConfig(width=64, layers=3, norm="none")),
    data=Data(name="mri_t1", patch=(48, 64, 64), batch=4, threads=4),
    schedule=Schedule(steps=20_000, peak=5e-4, end=2e-6, warmup=200, clip=1.0),
    tiling=Tiling(size=(64, 96, 96), overlap=16, batch=1),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=MaskedConfig(
        UNetConfig(width=16, depth=2, max_width=128, norm="none", full_resolution_blocks=1)
    ),
    method=CGAN(discriminator=PatchGANConfig(width=16, layers=2, norm="none"), ema_decay=0.99),
    data=Data(name="mri_t1", patch=(24, 40, 40), batch=2),
    schedule=Schedule(steps=1000, peak=2e-3, end=1e-5, warmup=50, clip=1.0),
    tiling=Tiling(size=(48, 64, 64), overlap=8, batch=1),
    keep=Keep(save_every=200, log_every=20),
)
