"""Fine-tuning to another scanner without clean scans, rehearsed where the truth is known.

    medjax train quickstart --run runs/supervised
    medjax train ldct_self_supervised --start runs/supervised

The supervised network learned the noise of a Hann filter on two patients. Another scanner has the
bare ramp, whose noise is finer and stronger; of it there is one noisy quarter-dose slice of a third
patient, scanned once (`RehearsedSelfSupervisedCT`), and no clean one. Judged is a fourth patient on
that scanner, against the truth.

To compare with: the network as it was (`--schedule.steps 1 --schedule.peak 1e-12 --schedule.end
0`); the same without `--start`; and with clean targets,

    medjax train quickstart --start runs/supervised --task.filter ramp --data ct_samples_others

These commands, `cpu` settings, printed (PSNR, SSIM, noise in flat tissue; one head):

    low-dose FBP                        29.76 dB / 0.8280   27.1 HU
    the network as it was               40.61    / 0.9624    4.8
    fine-tuned without clean scans      40.80    / 0.9836    2.7
    fine-tuned with clean targets       41.99    / 0.9831    3.5
    without --start                     33.06    / 0.9466    6.4
    NLM, tuned, true noise level        42.04    / 0.9819    2.4

Under `--seed` 0, 1 and 2, of training and of the judged noise, fine-tuning gained 0.19, 0.22 and
0.27 dB and 0.021 in SSIM over the network as it was: a small gain for each, and no more than a
sixth of what clean targets give in PSNR; tuned NLM stays ahead of both in PSNR. The run with clean
targets went by 150 steps of quickstart's cGAN at this experiment's rates (`--schedule.steps 150
--schedule.peak 3e-4 --method.ema-decay 0.98`). The `full` setting is for accelerators, was not run,
and starts from a run of the `full` network.
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
