"""Low-dose CT with a 2-D cGAN: the U-Net generator and PatchGAN of the article, over many doses.

    medjax train ldct_cgan

Stands beside ldct_rdae, ldct_autoencoder and ldct_redcnn: the same slices, doses, patches, steps
and learning rates. Against the article, nothing is normalised and the network is told the noise
level of its input: batch statistics of one dose mislead at another. The `full` setting is for
accelerators and was not run.

`python -m benchmarks.restoration --suite ct` (`cpu` setting, head of another patient and scanner,
three noise draws, three training seeds) printed in dB / SSIM, at 10 and at 25 % dose:

    low-dose FBP                      34.20 / 0.8781    38.26 / 0.9260
    NLM, tuned, true noise level      44.62 / 0.9895    46.67 / 0.9926
    BM3D, noise spectrum and level    45.59 / 0.9918    47.72 / 0.9939
    cGAN                              44.78 / 0.9910    47.01 / 0.9933

Ahead of NLM, behind BM3D, which is told the spectrum of the noise and its level.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="ldct_cgan",
    summary="2-D cGAN for low-dose CT, against ldct_rdae, ldct_autoencoder and ldct_redcnn",
    task=LowDoseCT(train_dose=(0.05, 0.6)),
    network=UNetConfig(width=64, depth=4, norm="none", full_resolution_blocks=1),
    method=CGAN(discriminator=PatchGANConfig(width=64, norm="none")),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=UNetConfig(
        width=16, depth=3, convs_per_level=2, max_width=128, norm="none", full_resolution_blocks=1
    ),
    method=CGAN(discriminator=PatchGANConfig(width=16, layers=2, norm="none"), ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=8),
    schedule=Schedule(steps=1200, peak=1.5e-3, end=1e-5),
    keep=Keep(save_every=400, log_every=20),
)
