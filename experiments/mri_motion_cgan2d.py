"""MRI motion with a 2-D cGAN, slice by slice: what `mri_motion_cgan3d` has to beat.

    medjax train mri_motion_cgan2d

The same volumes, the same 3-D motion, the same search for its poses and as many voxels as in
`mri_motion_cgan3d`, whose docstring has the results of both; the network sees axial slices one at a
time. The `full` setting was not run.
"""

import dataclasses

from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.physics.mri import MotionModel
from medjax.tasks.mri_kspace import MRIKSpaceMotion

full = Experiment(
    name="mri_motion_cgan2d",
    summary="2-D cGAN, slice by slice, for head motion in T1-weighted MRI",
    task=MRIKSpaceMotion(
        motion=MotionModel(
            segments=16,
            translation_mm=3.5,
            rotation_degrees=3.5,
            pattern="walk",
        ),
        noise=0.03,
        draws=64,
        slicewise=True,
    ),
    network=UNetConfig(width=64, depth=4, norm="none", full_resolution_blocks=1),
    method=CGAN(discriminator=PatchGANConfig(width=64, layers=3, norm="none")),
    data=Data(name="mri_t1", patch=(1, 96, 80), batch=128, threads=4),
    schedule=Schedule(steps=20_000, peak=5e-4, end=2e-6, warmup=200, clip=1.0),
    tiling=Tiling(size=(1, 112, 96), overlap=(0, 0, 0), batch=16),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    task=dataclasses.replace(full.task, draws=6),
    network=UNetConfig(width=16, depth=3, max_width=128, norm="none", full_resolution_blocks=1),
    method=CGAN(discriminator=PatchGANConfig(width=16, layers=2, norm="none"), ema_decay=0.99),
    data=Data(name="mri_t1", patch=(1, 96, 80), batch=8),
    schedule=Schedule(steps=600, peak=1.5e-3, end=1e-5, warmup=100, clip=1.0),
    tiling=Tiling(size=(1, 112, 96), overlap=(0, 0, 0), batch=16),
    keep=Keep(save_every=200, log_every=20),
)
