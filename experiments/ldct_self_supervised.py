"""Fine-tuning to another scanner without clean scans, rehearsed where the truth is known.

    medjax train quickstart --run runs/supervised
    medjax train ldct_self_supervised --start runs/supervised

The supervised network learned the noise of a Hann filter on two patients. Another scanner has the
bare ramp, whose noise is finer and stronger; of it there is one noisy quarter-dose slice of a third
patient, scanned once (`RehearsedSelfSupervisedCT`), and no clean one. Judged is a fourth patient on
that scanner, against the truth.

To compare with: the network as it was, `--schedule.steps 1 --schedule.peak 0 --schedule.end 0`; the
same without `--start`; and with clean targets,

    medjax train quickstart --start runs/supervised --task.filter ramp --data ct_samples_others

Neither setting was run: whether fine-tuning helps is not known yet. The `full` setting is for
accelerators, and starts from a run of the `full` network.
"""

import dataclasses

from medjax.data.augment import Augment
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import L2
from medjax.methods.config import Regression
from medjax.models.unet import UNetConfig
from medjax.tasks.ldct_self_supervised import RehearsedSelfSupervisedCT

full = Experiment(
    name="ldct_self_supervised",
    summary="fine-tuning to another scanner's noise without clean scans, where the truth is known",
    task=RehearsedSelfSupervisedCT(
        dose=0.25, filter="ramp", augment=Augment(gain=(0.9, 1.1), offset=(-60.0, 60.0))
    ),
    network=UNetConfig(width=64, depth=4, norm="none", full_resolution_blocks=1),
    method=Regression(),
    loss=L2(),
    data=Data(name="ct_samples_others", patch=128, batch=32),
    schedule=Schedule(steps=4000, peak=5e-5, end=1e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=UNetConfig(
        width=16, depth=3, convs_per_level=2, max_width=128, norm="none", full_resolution_blocks=1
    ),
    method=Regression(ema_decay=0.98),
    data=Data(name="ct_samples_others", patch=64, batch=8),
    schedule=Schedule(steps=150, peak=3e-4, end=1e-5),
    keep=Keep(save_every=50, log_every=10),
)
