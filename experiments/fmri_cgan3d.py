"""fMRI series with a 3-D cGAN, volume by volume: what fmri_cgan4d gains by seeing time.

    medjax train fmri_cgan3d

fmri_cgan4d with each volume restored by itself and all else the same, widths and patches included:
a slice that is lost altogether can only be guessed from its neighbours in space. The table in
fmri_cgan4d shows both. The `full` setting was not run. A training step of `cpu` plans for 24 MiB of
intermediate results by XLA's CPU compiler (51 without oneDNN): `benchmarks.memory fmri_cgan3d`
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.tasks.fmri import FMRISeries


def _volumewise(setting: str) -> Experiment:
    return dataclasses.replace(
        load(find("fmri_cgan4d"), setting),
        name="fmri_cgan3d",
        summary="3-D cGAN, volume by volume, for fMRI with moving and lost slices and noise",
        task=FMRISeries(volumewise=True),
    )


full = _volumewise("full")
cpu = _volumewise("cpu")
