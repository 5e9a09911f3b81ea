"""Low-dose CT with DDANet's image network alone: the twin that ldct_ddanet is measured against.

    medjax train ldct_ddanet_image

The attention network of ldct_ddanet without projections, widened until parameters and multiply-adds
are those of DDANet's two networks together (213,660 and 309 million against 210,046 and 295 million
in the `cpu` setting; tests keep them within 5 and 10 %). Slices, noise, steps, learning rates and
seed are the same. The `full` setting is for accelerators and was not run.

`python -m benchmarks.restoration --suite ddanet --seeds 0` (`cpu` setting, one seed, head of
another patient and scanner at 25 % dose, three noise draws) printed:

    low-dose FBP                        29.38 dB / 0.8425
    BM3D, noise spectrum and level      39.61 dB / 0.9842
    DDANet, measured projections        36.40 dB / 0.9582
    image-only twin                     34.40 dB / 0.9520
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import WindowedL1
from medjax.methods.config import Regression
from medjax.models.attention_net import AttentionNetConfig
from medjax.physics.ct import DoseModel, ParallelBeam
from medjax.tasks.ldct_projections import LowDoseProjections

SCANNER = ParallelBeam.for_image(512, 0.7, views=720)
COARSE = ParallelBeam.for_image(128, 1.9, views=180)

full = Experiment(
    name="ldct_ddanet_image",
    summary="DDANet's image network alone, widened to its parameters",
    task=LowDoseProjections(train_dose=(0.05, 0.6), geometry=SCANNER, dual=False),
    network=AttentionNetConfig(width=58, depth=3, blocks=2, max_width=210),
    method=Regression(),
    loss=WindowedL1(),
    data=Data(name="ct_samples", patch=512, batch=4),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(size=512),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    task=LowDoseProjections(
        train_dose=(0.15, 1.0),
        geometry=COARSE,
        scanner=DoseModel(photons=4e4),
        projected=0.25,
        dual=False,
    ),
    network=AttentionNetConfig(width=11, depth=3, max_width=43),
    method=Regression(ema_decay=0.998),
    data=Data(name="ct_samples", patch=128, batch=4),
    schedule=Schedule(steps=400, peak=2e-3, end=1e-5),
    tiling=Tiling(size=128),
    keep=Keep(save_every=200, log_every=20),
)
