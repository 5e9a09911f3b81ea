"""Low-dose CT with DDANet: a network on the projections, one on the image, trained end to end.

    medjax train ldct_ddanet

The `cpu` setting is a coarse virtual scanner, 128 x 128 pixels and 180 parallel views, with as few
photons as make about 30 HU of noise in flat tissue at a quarter dose. Three slices of a batch of
four come with the projections that their noise was made in; the fourth is a patch of an image,
projected. The `full` setting, 512 x 512 pixels and 720 views, is for accelerators and was not run.

`python -m benchmarks.restoration --suite ddanet --seeds 0` (`cpu` setting, one seed, head of
another patient and scanner at 25 % dose, three noise draws) printed:

    low-dose FBP                        29.38 dB / 0.8425, noise 30.1 HU
    TV, tuned, true noise level         35.35 dB / 0.9496        9.3 HU
    NLM, tuned, true noise level        39.15 dB / 0.9774        4.2 HU
    BM3D, noise spectrum and level      39.61 dB / 0.9842        2.7 HU
    DDANet, measured projections        36.40 dB / 0.9582        7.2 HU
    DDANet, image alone, projected      34.34 dB / 0.9134       13.2 HU
    image-only twin                     34.40 dB / 0.9520        7.7 HU

With measured projections DDANet is ahead of its twin of equal parameters and multiply-adds
(ldct_ddanet_image, the same steps and seed) by 2.00 dB [1.89, 2.06], at about 1.6 times the CPU
time to compile and train. Without them it gains nothing, -0.07 dB [-0.16, 0.08], and loses in SSIM.
After these 400 steps on two training slices it is behind NLM and BM3D in either case.
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
    task=LowDoseRegions(train_dose=(0.05, 0.6), geometry=LARGE, draws=64),
    network=DDANetConfig(
        geometry=LARGE,
        views_together=4,
        sinogram=AttentionNetConfig(width=32, depth=1, blocks=2),
        image=AttentionNetConfig(width=48, depth=3, blocks=2),
    ),
    method=DualDomain(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32, threads=4),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(size=128, overlap=32, batch=16, ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    task=LowDoseRegions(geometry=SMALL, projected=0.25),
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
