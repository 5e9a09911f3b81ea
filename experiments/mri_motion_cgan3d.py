"""MRI motion with a 3-D cGAN: slabs that hold whole phase-encode lines.

    medjax train mri_motion_cgan3d

Motion scatters each structure along the whole phase-encode axis (from front to back), so a cube
of 32 or 48 voxels misses most of what is to be put together again: patches are slabs nearly
as long as the head. `mri_motion_cgan2d` trains on the same volumes, with the same motion and on as
many voxels, slice by slice.

The head drifts at random (a walk in 16 steps), which costs the two test heads 10 to 17 % of their
mean. Its poses are found from k-space (`physics.mri_poses`, no network), and the network undoes
what they leave: it is trained on up to a twentieth of the motion. Johnson and Drangova (MRM
2019) publish 16.4 % before and 10.8 % after a cGAN on images alone, on other data.

`python -m benchmarks.mri_poses` (both test heads, one motion each, on a busy core) printed:

               with motion            poses found            true poses     search
    head c     24.01 dB  13.15 %    30.17 dB   5.69 %      35.82 dB    277 s
    brain d    26.06 dB  11.17 %    33.91 dB   4.77 %      44.99 dB    266 s

Near the centre of k-space poses are off by 0.22 mm and 0.02 mm; farther out, where there is little
energy, by 1.8 and 2.4 mm, which is what keeps brain d from its 45 dB. An earlier search gave 27.66
dB on the same scan of head c, and 35.1 to 38.5 dB on brain d with three other motions: for d this
one may be a step back.

The two networks have not been compared since the search became what it is. With an earlier one,
which left 6.32 % (31.53 dB), with 1200 steps on 0.1 to 0.4 of the motion and three training seeds
each, `python -m benchmarks.restoration --suite mri` printed 6.30 %, 31.80 dB and 0.904 for the 3-D
network, and 5.99 %, 32.04 dB and 0.892 for the 2-D one: ahead in 3-D SSIM, +0.0125 [0.006, 0.019],
behind in PSNR, -0.24 dB [-0.36, -0.14].

The search takes the phase as removed and the order of the segments as known, as they are in this
simulation. A magnitude image without k-space gets no more than the network, which undoes no large
motion. The `full` setting was not run.
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
