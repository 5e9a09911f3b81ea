"""Low-dose CT with a residual dense autoencoder (blocks of arXiv:1802.08797).

    medjax train ldct_rdae

The same slices, doses, patches, steps and learning rates as ldct_cgan, ldct_autoencoder (equal
parameters, no dense connections and no residuals) and ldct_redcnn. The `full` setting is for
accelerators and was not run.

`python -m benchmarks.restoration --suite ct` (`cpu` setting, head of another patient and scanner,
three noise draws, three training seeds) printed in dB / SSIM, at 10 and at 25 % dose:

    low-dose FBP                      34.20 / 0.8781    38.26 / 0.9260
    NLM, tuned, true noise level      44.62 / 0.9895    46.67 / 0.9926
    BM3D, noise spectrum and level    45.59 / 0.9918    47.72 / 0.9939
    RDAE                              44.41 / 0.9906    46.46 / 0.9932
    autoencoder                       32.93 / 0.9725    33.00 / 0.9743
    RED-CNN                           43.32 / 0.9870    45.96 / 0.9918

The gap to the autoencoder in SSIM, +0.0181 [0.0149, 0.0210] and +0.0188 [0.0160, 0.0214], is a
sixth of the 0.12 that the article claims. RED-CNN is 1.08 [1.03, 1.15] and 0.51 [0.37, 0.61] dB
behind. BM3D and NLM stay ahead in PSNR at this budget of three minutes.

Losses, by `python -m benchmarks.restoration --suite losses --draws 1` (`cpu` setting, three seeds),
PSNR in dB, SSIM, VIF, distance of VGG features, MAE over all HU:

    10 % dose   L1                                 44.19  0.9895  0.775  0.0029   3.3
                perceptual + SSIM (article)        43.88  0.9901  0.777  0.0025  10.0
                the same, rooted image by image    44.15  0.9904  0.783  0.0025   6.5
    25 % dose   L1                                 46.36  0.9926  0.822  0.0019   2.6
                perceptual + SSIM (article)        45.59  0.9926  0.816  0.0018   9.5
                the same, rooted image by image    45.98  0.9928  0.822  0.0018   6.0

Rooted, it is above L1 at a tenth of the dose in VIF, +0.008 [0.006, 0.012], and nearer in features,
-0.0004 [-0.0006, -0.0001], for 0.04 [-0.13, 0.34] dB; at a quarter it ties in VIF, +0.000 [-0.005,
0.006], and is nearer by 0.0001 for 0.39 dB. The article's own form loses VIF at a quarter, -0.006
[-0.009, -0.001]. Neither fixes absolute HU, as their MAE shows: where HU count, give them an
anchor. A step of the article's takes 3.4 times as long as one of L1.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import Regression
from medjax.models.rdae import RDAEConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="ldct_rdae",
    summary="residual dense autoencoder for low-dose CT",
    task=LowDoseCT(train_dose=(0.05, 0.6)),
    network=RDAEConfig(width=64, growth=32, layers=6, blocks=2, depth=2),
    method=Regression(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=RDAEConfig(width=12, growth=6, layers=3, blocks=1, depth=3),
    method=Regression(ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=8),
    schedule=Schedule(steps=1200, peak=1.5e-3, end=1e-5),
    keep=Keep(save_every=400, log_every=20),
)
