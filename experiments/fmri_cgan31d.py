"""fMRI series with a (3+1)-D cGAN: each 4-D convolution of the U-Net over space, then over time.

    medjax train fmri_cgan31d

fmri_cgan4d with factorised convolutions (R(2+1)D, Tran et al., arXiv:1711.11248) and all else the
same; the PatchGAN stays 4-D. Neither setting was run.
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.models.unet import UNetConfig


def _factorised(setting: str) -> Experiment:
    joint = load(find("fmri_cgan4d"), setting)
    assert isinstance(joint.network, UNetConfig)
    return dataclasses.replace(
        joint,
        name="fmri_cgan31d",
        summary="(3+1)-D cGAN, space and then time, for fMRI with moving and lost slices and noise",
        network=dataclasses.replace(joint.network, factorised=True),
    )


full = _factorised("full")
cpu = _factorised("cpu")
