"""Low-dose CT with DDANet: a network on the projections, one on the image, trained end to end.

    medjax train ldct_ddanet

Regions of slices at full resolution (512 x 512 pixels, 720 parallel views) with the strips of rays
through them (`physics.ct_strips`); whole slices are restored tile by tile. Three regions of a batch
of four come with the projections that their noise was made in; the fourth is an image alone,
projected. The `full` setting is for accelerators and was not run (that of ldct_ddanet_lowest_dose,
of this network, was).

`python -m benchmarks.restoration --suite ddanet --seeds 0` (`cpu` setting, one seed, head of
another patient and scanner at 25 % dose, three noise draws) printed:

    low-dose FBP                              38.26 dB / 0.9260, noise 10.4 HU
    TV, tuned, true noise level               44.11 dB / 0.9904        2.5 HU
    NLM, tuned, true noise level              46.67 dB / 0.9926        1.3 HU
    BM3D, noise spectrum and level            47.72 dB / 0.9939        1.1 HU
    DDANet, measured projections              46.75 dB / 0.9929        1.5 HU
    DDANet, image alone, projected            46.75 dB / 0.9931        1.5 HU
    image-only twin                           46.41 dB / 0.9932        1.6 HU

With measured projections DDANet is ahead of its twin of equal parameters and multiply-adds
(ldct_ddanet_image, the same steps and seed) by 0.34 dB (0.33 to 0.34 over the noise draws), and by
as much from the image alone; the twin leads in SSIM by 0.0001 to 0.0003. BM3D is ahead by 0.97 dB
after these 1200 steps. In a chest at an input noise of 29 HU it has 36.28 dB, 1.77 above the twin
(ldct_ddanet_lowest_dose has the table).

It learns from doses of 2 % on. From 5 % on it had 46.92 dB on the head (the twin 46.79) and 34.84
in the chest. Each image's root mean square error as the loss instead of L1 gave the same (seed 0:
36.54 dB where L1 has 36.64, and 46.8 where it has 46.7).
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import DualDomain
from medjax.models.attention_net import AttentionNetConfig
from medjax.models.ddanet import DDANetConfig
from medjax.physics.ct import ParallelBeam
from medjax.physics.ct_strips import region_of
from medjax.tasks.ldct_regions import LowDoseRegions

SCANNER = ParallelBeam.for_image(512, 0.7, views=720)
LARGE, SMALL = region_of(SCANNER, 128), region_of(SCANNER, 64)

full = Experiment(
    name="ldct_ddanet",
    summary="dual-domain attention network for low-dose CT: projections and image",
    task=LowDoseRegions(train_dose=(0.02, 0.6), geometry=LARGE, draws=64),
    network=DDANetConfig(
        geometry=LARGE,
        views_together=4,
        sinogram=AttentionNetConfig(width=32, depth=1, blocks=2, dtype="bfloat16"),
        image=AttentionNetConfig(width=48, depth=3, blocks=2, dtype="bfloat16"),
    ),
    method=DualDomain(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32, threads=8),
    schedule=Schedule(steps=4500, peak=5e-4, end=2e-6, warmup=200),
    tiling=Tiling(size=128, overlap=32, batch=16, ensemble=True),
    keep=Keep(save_every=500, log_every=50),
)

cpu = dataclasses.replace(
    full,
    task=LowDoseRegions(train_dose=(0.02, 1.0), geometry=SMALL, projected=0.25),
    network=DDANetConfig(
        geometry=SMALL,
        views_together=4,
        sinogram=AttentionNetConfig(width=8, depth=1),
        image=AttentionNetConfig(width=16, depth=3, max_width=128),
    ),
    method=DualDomain(ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=4),
    schedule=Schedule(steps=1200, peak=2e-3, end=1e-5),
    tiling=Tiling(size=64, overlap=24, batch=16, ensemble=True),
    keep=Keep(save_every=300, log_every=20),
)
