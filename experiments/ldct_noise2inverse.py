"""Fine-tuning to another scanner by its noisy projections alone: Noise2Inverse, rehearsed.

    medjax train quickstart --run runs/supervised
    medjax train ldct_noise2inverse --start runs/supervised

The scanner, patients, network and steps of ldct_self_supervised, which needs images only. These
commands, `cpu` settings, one seed: 40.13 dB / 0.9815, noise 3.4 HU, from a network of 40.61 dB /
0.9624, 4.8 HU. So it gains in SSIM and LOSES 0.48 dB, where ldct_self_supervised gains 0.19. The
`full` setting was not run.
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.tasks.ldct_noise2inverse import Noise2InverseCT
from medjax.tasks.ldct_self_supervised import SelfSupervisedCT


def _split(setting: str) -> Experiment:
    images = load(find("ldct_self_supervised"), setting)
    assert isinstance(images.task, SelfSupervisedCT)
    task = Noise2InverseCT(
        dose=images.task.dose, filter=images.task.filter, augment=images.task.augment
    )
    return dataclasses.replace(
        images,
        name="ldct_noise2inverse",
        summary="fine-tuning to another scanner by its noisy projections, without clean scans",
        task=task,
    )


full, cpu = _split("full"), _split("cpu")
