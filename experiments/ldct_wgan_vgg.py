"""Low-dose CT with WGAN-VGG (Yang et al., arXiv:1708.00961): a plain CNN, VGG features, a critic.

    medjax train ldct_wgan_vgg

Slices, doses, patches, steps and learning rates are those of ldct_redcnn and ldct_cgan; the critic
has a constant rate of its own. The loss is the difference of VGG16 features at relu3_3, the
deepest layer that ships with medjax (the paper: VGG19's last), with an L1 anchor that the paper
lacks, because features leave HU loose. The `full` setting has the published generator and critic;
it is for accelerators and was not run. In the `cpu` setting the critic is an eighth as wide and
the generator adds its input: there are too few steps to learn the identity. A step took 0.8 s of
one core (the first 310 steps of the `cpu` setting, on a machine busy with other work); no whole run
was measured yet.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.losses.config import PerceptualSSIM
from medjax.methods.config import WGAN
from medjax.models.critic import CriticConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.tasks.ldct import LowDoseCT

full = Experiment(
    name="ldct_wgan_vgg",
    summary="WGAN-VGG for low-dose CT: perceptual loss and a Wasserstein critic",
    task=LowDoseCT(train_dose=(0.05, 0.6)),
    network=PlainCNNConfig(),
    method=WGAN(),
    loss=PerceptualSSIM(
        perceptual=1.0, ssim=0.0, anchor=0.5, layers=("relu3_3",), layer_weights=(1.0,)
    ),
    data=Data(name="ct_samples", patch=128, batch=32),
    schedule=Schedule(steps=20_000, peak=2e-4, end=2e-6),
    tiling=Tiling(ensemble=True),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    network=PlainCNNConfig(residual=True),
    method=WGAN(critic=CriticConfig(width=8, dense=128), ema_decay=0.998),
    data=Data(name="ct_samples", patch=64, batch=8),
    schedule=Schedule(steps=1200, peak=1.5e-3, end=1e-5),
    keep=Keep(save_every=400, log_every=20),
)
