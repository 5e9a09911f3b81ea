"""Low-dose CT with DDANet for the noisiest scans: less is smoothed away, more noise is left.

    medjax train ldct_ddanet_lowest_dose

The network, regions, steps and rates of ldct_ddanet, trained on doses from 2 % (there 5 %) and with
two noise draws of each region, so that smoothing what is faint weighs more than the noise that is
left (`losses.bias`). `--loss.variance` chooses how much that is. The `full` setting is for
accelerators and was not run.

A chest at an input noise of 29.3 HU (`python -m benchmarks.ldct --doses 0.25 --photons 2e5 --slices
22`, `cpu` settings, two noise draws; MTF50 at 50 and at 900 HU and nodules found as shares of the
full dose's; seeds in brackets):

                                      PSNR    SSIM    noise HU    MTF50         nodules
    low-dose FBP                      27.57   0.7528    29.3    101    100 %     50 %
    ldct_ddanet [0, 1, 2]             34.84   0.9183     4.8     50     94       97
    this [0, 1, 2]                    35.48   0.9186     9.0     60     93       87
    this, image alone [0]             33.75   0.9033     7.0     53     95       40
    this with variance 0.1 [0]        34.72   0.9140    11.7     68     95       70
    its image-only twin [0, 1, 2]     33.47   0.9067     7.8     58     94       63
    full-dose FBP                     36.09   0.9149    13.9    100    100      100

So it gains 0.64 dB and some sharpness, and LOSES nodules (of 12, under three seeds); minus its twin
(ldct_ddanet_image with this task and loss) +2.01 dB [1.55, 2.33]. On slices 26 and 29, inputs of 73
and 89 HU, it is above the full dose's reconstruction by 1.2 and 1.6 dB (`benchmarks.ldct --help`).
Where there is less noise it loses altogether: on the head of ldct_ddanet's table, 10.4 HU, 45.5 dB
under one seed and noise draw where ldct_ddanet has 46.9. How much is due to the loss and how much
to the doses was not tried. Seed 0 was trained before patches' noise was drawn as it is now.

A training step of `full` on whole slices of 512 x 512 pixels and 720 views, four of them with two
noise draws each, takes 34.5 GB in float32, 28.7 in bfloat16 and 7.4 a slice at a time, by the CPU's
compiler (`medjax plan ldct_ddanet_lowest_dose --setting full --memory 80GB --all --data.patch 512
--data.batch 4 --task.geometry.image-size 512 --task.geometry.detectors 768
--network.geometry.image-size 512 --network.geometry.detectors 768`).
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.losses.config import BiasConstrained
from medjax.tasks.ldct_regions import LowDoseRegions


def _lowest(setting: str) -> Experiment:
    usual = load(find("ldct_ddanet"), setting)
    assert isinstance(usual.task, LowDoseRegions)
    return dataclasses.replace(
        usual,
        name="ldct_ddanet_lowest_dose",
        summary="DDANet for the noisiest CT: smooths less away, leaves more noise",
        task=dataclasses.replace(usual.task, train_dose=(0.02, usual.task.train_dose[1]), noises=2),
        loss=BiasConstrained(),
    )


# Two noise draws of half as many regions take the memory of ldct_ddanet's batch.
full = _lowest("full")
full = dataclasses.replace(full, data=dataclasses.replace(full.data, batch=full.data.batch // 2))
cpu = _lowest("cpu")
