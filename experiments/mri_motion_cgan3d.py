"""MRI motion with a 3-D cGAN: slabs that hold whole phase-encode lines.

    medjax train mri_motion_cgan3d

Motion scatters each structure along the whole phase-encode axis (from front to back), so a cube
of 32 or 48 voxels misses most of what is to be put together again: patches are slabs nearly
as long as the head. `mri_motion_cgan2d` trains on the same volumes, with the same motion and on as
many voxels, slice by slice.

The head drifts at random (a walk in 16 steps), which costs the two test heads 10 to 17 % of their
mean. Its poses are found from k-space (`physics.mri_poses`, no network), and the network undoes
what they leave: it is trained on a tenth to four tenths of the motion. Johnson and Drangova (MRM
2019) publish 16.4 % before and 10.8 % after a cGAN on images alone, on other data.

`python -m benchmarks.restoration --suite mri` (`cpu` settings, the same number of steps and of
voxels in each, two unseen heads, three motions each, three training seeds) printed MAE in the head
as a share of its mean, PSNR and SSIM:

    with motion                 13.15 %    24.42 dB    0.591
    wavelet, tuned              12.71 %    24.73 dB    0.612
    poses from k-space           6.32 %    31.53 dB    0.901
    2-D cGAN, slice by slice     5.99 %    32.04 dB    0.892
    3-D cGAN                     6.30 %    31.80 dB    0.904

The error is halved (0.48 times; 0.60 on one head, 0.31 on the other), nearly all of it by the
poses. The 3-D network is ahead of the 2-D one in 3-D SSIM, +0.0125 [0.006, 0.019], and behind it in
PSNR, -0.24 dB [-0.36, -0.14]; a step shows the 2-D one eight slices of different places, it one
slab. The search takes the phase as removed and the order of the segments as known, as they are in
this simulation; it took two and a half minutes a head on one busy core. A magnitude image without
k-space gets no more than the network, which undoes no large motion. The `full` setting was not run.
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
    name="mri_motion_cgan3d",
    summary="3-D cGAN for head motion in T1-weighted MRI",
    task=MRIKSpaceMotion(
        motion=MotionModel(
            segments=16,
            translation_mm=3.5,
            rotation_degrees=3.5,
            pattern="walk",
        ),
        draws=64,
    ),
    network=UNetConfig(width=32, depth=4, max_width=256, norm="none", full_resolution_blocks=1),
    method=CGAN(discriminator=PatchGANConfig(width=32, layers=2, norm="none")),
    data=Data(name="mri_t1", patch=(32, 96, 80), batch=4, threads=4),
    schedule=Schedule(steps=20_000, peak=5e-4, end=2e-6, warmup=200, clip=1.0),
    tiling=Tiling(size=(32, 112, 96), overlap=(8, 0, 0), batch=1),
    keep=Keep(save_every=1000, log_every=50),
)

cpu = dataclasses.replace(
    full,
    task=dataclasses.replace(full.task, draws=6),
    network=UNetConfig(width=12, depth=3, max_width=96, norm="none", full_resolution_blocks=1),
    method=CGAN(discriminator=PatchGANConfig(width=8, layers=2, norm="none"), ema_decay=0.99),
    data=Data(name="mri_t1", patch=(16, 96, 40), batch=1),
    schedule=Schedule(steps=600, peak=1.5e-3, end=1e-5, warmup=100, clip=1.0),
    tiling=Tiling(size=(24, 112, 96), overlap=(8, 0, 0), batch=1),
    keep=Keep(save_every=200, log_every=20),
)
