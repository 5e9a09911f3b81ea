"""What is compared with what: the suites, their networks and the claims that they are to settle."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from medjax.losses.config import L1, PerceptualSSIM
from medjax.losses.root_perceptual import RootPerceptualSSIM


@dataclasses.dataclass(frozen=True)
class Entry:
    """One network of a suite.

    Attributes:
      name: its row.
      experiment: the published experiment that trains it.
      change: fields of the experiment that are replaced.
    """

    name: str
    experiment: str
    change: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a suite is to show, decided by the numbers and printed either way.

    Attributes:
      row: the row that is said to be better.
      than: the row that it is compared with, on the same case, noise and seed.
      column: the quantity.
      kind: "above", the difference is positive; "below", negative; "halved", the mean is at most
        half of the other's; "cost", no claim: the difference is what something else costs.
    """

    row: str
    than: str
    column: str
    kind: Literal["above", "below", "halved", "cost"] = "above"


@dataclasses.dataclass(frozen=True)
class Suite:
    """Networks on one task.

    Attributes:
      entries: the networks; all have the task, data, batch, patch volume and steps in common.
      variants: fields of the task under which the held-out scans are degraded, by title.
      claims: settled under every variant.
      filters: in addition to the task's, where their packages are installed.
    """

    entries: tuple[Entry, ...]
    variants: Mapping[str, Mapping[str, Any]]
    claims: tuple[Claim, ...] = ()
    filters: tuple[str, ...] = ()


SUITES: Mapping[str, Suite] = {
    "ct": Suite(
        entries=(
            Entry("cGAN", "ldct_cgan"),
            Entry("RDAE", "ldct_rdae"),
            Entry("autoencoder", "ldct_autoencoder"),
            Entry("RED-CNN", "ldct_redcnn"),
        ),
        variants={"10 % dose": {"dose": 0.1}, "25 % dose": {"dose": 0.25}},
        claims=(
            Claim("RDAE", "autoencoder", "ssim"),
            Claim("RDAE", "RED-CNN", "psnr"),
        ),
        filters=("BM3D",),
    ),
    "ddanet": Suite(
        entries=(
            Entry("DDANet", "ldct_ddanet"),
            Entry("image-only twin", "ldct_ddanet_image"),
        ),
        variants={
            "25 % dose, projections measured": {"dose": 0.25},
            "25 % dose, image alone": {"dose": 0.25, "measured": False},
        },
        claims=(
            Claim("DDANet", "image-only twin", "psnr"),
            Claim("DDANet", "image-only twin", "ssim"),
            Claim("DDANet", "BM3D", "psnr"),
        ),
        filters=("BM3D",),
    ),
    "losses": Suite(
        entries=(
            Entry("L1", "ldct_rdae", {"loss": L1()}),
            Entry("perceptual + SSIM", "ldct_rdae", {"loss": PerceptualSSIM()}),
            Entry("perceptual + SSIM, rooted", "ldct_rdae", {"loss": RootPerceptualSSIM()}),
        ),
        variants={"10 % dose": {"dose": 0.1}, "25 % dose": {"dose": 0.25}},
        claims=(
            Claim("perceptual + SSIM", "L1", "vif"),
            Claim("perceptual + SSIM", "L1", "perceptual", "below"),
            Claim("perceptual + SSIM", "L1", "psnr", "cost"),
            Claim("perceptual + SSIM, rooted", "L1", "vif"),
            Claim("perceptual + SSIM, rooted", "L1", "perceptual", "below"),
            Claim("perceptual + SSIM, rooted", "L1", "psnr", "cost"),
        ),
    ),
    "mri": Suite(
        entries=(
            Entry("3-D cGAN", "mri_motion_cgan3d"),
            Entry("2-D cGAN, slice by slice", "mri_motion_cgan2d"),
        ),
        variants={"rigid motion": {}},
        claims=(
            Claim("3-D cGAN", "2-D cGAN, slice by slice", "psnr"),
            Claim("3-D cGAN", "2-D cGAN, slice by slice", "ssim"),
            Claim("3-D cGAN", "", "mae_percent", "halved"),
        ),
        filters=("N4",),
    ),
    "fmri": Suite(
        entries=(
            Entry("4-D cGAN", "fmri_cgan4d"),
            Entry("(3+1)-D cGAN", "fmri_cgan31d"),
            Entry("3-D cGAN, volume by volume", "fmri_cgan3d"),
        ),
        variants={"dropouts, noise, motion": {}},
        claims=(
            Claim("4-D cGAN", "3-D cGAN, volume by volume", "psnr"),
            Claim("4-D cGAN", "temporal median 5", "psnr"),
        ),
    ),
    "xray": Suite(
        entries=(Entry("cGAN", "xray_exposure_cgan"),),
        variants={"over- and under-exposure": {}},
    ),
    "fundus": Suite(
        entries=(Entry("conditional VAE", "fundus_vae"),),
        variants={"blur, shading, noise": {}},
    ),
    "inpainting": Suite(
        entries=(Entry("cGAN", "inpainting_cgan"),),
        variants={"missing lines and blocks": {}},
    ),
    "volumes": Suite(
        entries=(
            Entry("3-D cGAN", "inpainting_volume_cgan"),
            Entry("2-D cGAN, slice by slice", "inpainting_volume_cgan2d"),
        ),
        variants={"missing slices and blocks": {}},
        claims=(
            Claim("3-D cGAN", "2-D cGAN, slice by slice", "psnr"),
            Claim("3-D cGAN", "2-D cGAN, slice by slice", "ssim"),
            Claim("3-D cGAN", "biharmonic fill", "psnr"),
        ),
    ),
}
