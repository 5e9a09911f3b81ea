"""The training methods as settings of an experiment."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import optax

from medjax.losses.adversarial import Adversarial
from medjax.methods.base import Loss, Method
from medjax.methods.cgan import CGANWeights, cgan
from medjax.methods.regression import regression
from medjax.models.patchgan import PatchGAN, PatchGANConfig


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """Base of every method's settings; `label` names its row in tables."""

    label: ClassVar[str]

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        """The method that trains `network` with `optimizer` on `loss` against the clean image."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Regression(MethodConfig):
    """Plain supervised training.

    Attributes:
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    ema_decay: float = 0.999

    label: ClassVar[str] = "regression"

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return regression(network, optimizer, loss=loss, ema_decay=self.ema_decay)


@dataclasses.dataclass(frozen=True)
class CGAN(MethodConfig):
    """Conditional GAN.

    Attributes:
      discriminator: a PatchGAN conditioned on the degraded image.
      weights: of the generator's two terms; only their ratio matters under Adam.
      adversarial: the adversarial loss.
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    discriminator: PatchGANConfig = PatchGANConfig()
    weights: CGANWeights = CGANWeights()
    adversarial: Adversarial = "bce"
    ema_decay: float = 0.999

    label: ClassVar[str] = "cGAN"

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return cgan(
            network,
            PatchGAN(self.discriminator),
            optimizer,
            optimizer,
            weights=self.weights,
            adversarial=self.adversarial,
            pixel_loss=loss,
            ema_decay=self.ema_decay,
        )
