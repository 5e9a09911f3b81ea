"""Low-dose CT with a plain autoencoder: the baseline of ldct_rdae, of equal parameters.

    medjax train ldct_autoencoder

No dense connections, no skips, no residuals; the widths are those that
`medjax.models.autoencoder.matching` finds for the networks of ldct_rdae. All else is the same
there. The `full` setting is for accelerators and was not run.

`python -m benchmarks.restoration --suite ct` (`cpu` setting, head of another patient and scanner,
three noise draws, three training seeds) printed in dB / SSIM, at 10 and at 25 % dose:

    low-dose FBP                      34.20 / 0.8781    38.26 / 0.9260
    NLM, tuned, true noise level      44.62 / 0.9895    46.67 / 0.9926
    BM3D, noise spectrum and level    45.59 / 0.9918    47.72 / 0.9939
    autoencoder                       32.93 / 0.9725    33.00 / 0.9743

All it shows has passed the bottleneck: fine detail is lost, whatever the dose.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import Regression
from medjax.models.autoencoder import AutoencoderConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="ldct_autoencoder",
    summary="plain autoencoder for low-dose CT, the parameters of ldct_rdae",
    task=LowDoseCT(train_dose=(0.05, 0.6)),
    network=AutoencoderConfig(width=72, depth=2, convs_per_level=12),
    method=Regression(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=AutoencoderConfig(width=13, depth=3, convs_per_level=3),
    method=Regression(ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=8),
    schedule=Schedule(steps=1200, peak=1.5e-3, end=1e-5),
    keep=Keep(save_every=400, log_every=20),
)
