"""fMRI series with a 4-D cGAN: space and time of a tile at once.

    medjax train fmri_cgan4d

U-Net and PatchGAN convolve over [t, z, y, x], conditioned on the corrupted series, and whole series
are restored in tiles that overlap along all four axes. What is wrong is simulated (see
`medjax.tasks.fmri`); realign first, motion between volumes is not the network's business. `cpu`
trains on a real head held still in time and tests on 20 real volumes of another subject; `full`
needs the dataset "fmri_series" and was not run.

`python -m benchmarks.restoration --suite fmri --seeds 0` (`cpu` setting, the real series of another
subject, three degradations) printed PSNR, error in the brain, correlation of time courses and of
the activation map:

    corrupted series              26.82 dB    8.30 %    0.226    0.066
    temporal median of 5          37.35 dB    2.17 %    0.194    0.358
    slice repair                  34.35 dB    3.06 %    0.347    0.446
    slice repair + PCA            37.12 dB    2.23 %    0.283    0.411
    4-D cGAN                      33.38 dB    3.38 %    0.328    0.430
    (3+1)-D cGAN                  33.05 dB    3.47 %    0.322    0.419
    3-D cGAN, volume by volume    31.63 dB    4.13 %    0.300    0.361

Seeing time is worth 1.75 dB [0.48, 2.47] over the same network in 3-D; in (3+1)-D, with a third
of the 4-D network's parameters, 1.4 dB. In some minutes it has learnt to repair lost slices, not
yet to denoise: the temporal median stays 4.0 dB ahead, while its time courses and activation maps
are worse. PSNR alone misleads here: a series held constant in time has 40.7 dB and shows no
activation.

A training step of `cpu` plans for 70 MiB of intermediate results by XLA's CPU compiler (60 without
oneDNN): python -m benchmarks.memory fmri_cgan4d, which takes 17 s of processor time.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.tasks.fmri import FMRISeries

full = Experiment(
    name="fmri_cgan4d",
    summary="4-D cGAN for fMRI with moving and lost slices and noise",
    task=FMRISeries(),
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
