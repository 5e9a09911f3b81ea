"""Low-dose CT with RED-CNN (Chen et al., arXiv:1702.00288), the field's usual baseline.

    medjax train ldct_redcnn

The network sees the slice alone, as published, without the noise level that the others are told.
Slices, doses, patches, steps and learning rates are those of ldct_cgan and ldct_rdae. The `full`
setting has the published 96 channels; it is for accelerators and was not run. The `cpu` setting
has the channels that take about the time of the other networks.

`python -m benchmarks.restoration --suite ct` (`cpu` setting, head of another patient and scanner,
three noise draws, three training seeds) printed in dB / SSIM, at 10 and at 25 % dose:

    low-dose FBP                      34.20 / 0.8781    38.26 / 0.9260
    NLM, tuned, true noise level      44.62 / 0.9895    46.67 / 0.9926
    BM3D, noise spectrum and level    45.59 / 0.9918    47.72 / 0.9939
    RED-CNN                           43.32 / 0.9870    45.96 / 0.9918

Behind NLM and BM3D, and behind RDAE by 1.08 [1.03, 1.15] and 0.51 [0.37, 0.61] dB.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import Regression
from medjax.models.redcnn import REDCNNConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="ldct_redcnn",
    summary="RED-CNN for low-dose CT",
    task=LowDoseCT(train_dose=(0.05, 0.6)),
    network=REDCNNConfig(),
    method=Regression(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=REDCNNConfig(width=16),
    method=Regression(ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=8),
    schedule=Schedule(steps=1200, peak=1.5e-3, end=1e-5),
    keep=Keep(save_every=400, log_every=20),
)
