"""Low-dose CT with a residual dense autoencoder (blocks of arXiv:1802.08797).

    medjax train ldct_rdae

The same slices, doses, patches, steps and learning rates as ldct_cgan, ldct_autoencoder (equal
parameters, no dense connections and no residuals) and ldct_redcnn. The `full` setting is for
accelerators and was not run.
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
