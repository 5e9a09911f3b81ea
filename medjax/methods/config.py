"""The training methods as settings of an experiment."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import optax

from medjax.errors import UserError
from medjax.losses.adversarial import Adversarial
from medjax.losses.likelihood import Law
from medjax.methods.base import Loss, Method
from medjax.methods.cgan import CGANWeights, cgan
from medjax.methods.dual_domain import dual_domain
from medjax.methods.heteroscedastic import heteroscedastic
from medjax.methods.regression import regression
from medjax.methods.vae import vae
from medjax.methods.wgan import wgan
from medjax.models.critic import Critic, CriticConfig
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
class Heteroscedastic(MethodConfig):
    """Supervised training of a `WithSpreadConfig` network, which says how far off it may be.

    Attributes:
      law: of the errors: laplace or gaussian.
      weight: of the errors' negative log-likelihood, in nats a sample, beside the loss.
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    law: Law = "laplace"
    weight: float = 0.1
    ema_decay: float = 0.999

    label: ClassVar[str] = "regression with spread"

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return heteroscedastic(
            network,
            optimizer,
            loss=loss,
            law=self.law,
            weight=self.weight,
            ema_decay=self.ema_decay,
        )


@dataclasses.dataclass(frozen=True)
class DualDomain(MethodConfig):
    """Supervised training with a loss on the image and one on the projections.

    Attributes:
      sinogram_weight: of the loss of the cleaned projections, which is in units of their noise;
        0 leaves the sinogram network to what serves the image.
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    sinogram_weight: float = 0.02
    ema_decay: float = 0.999

    label: ClassVar[str] = "DDANet"

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return dual_domain(
            network,
            optimizer,
            loss=loss,
            sinogram_weight=self.sinogram_weight,
            ema_decay=self.ema_decay,
        )


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


@dataclasses.dataclass(frozen=True)
class WGAN(MethodConfig):
    """Wasserstein GAN with gradient penalty; with a perceptual loss, WGAN-VGG.

    Attributes:
      critic: scores the image alone; it takes patches of one size.
      critic_updates: of the critic a step.
      critic_rate: its learning rate, constant; by Adam with the papers' betas of 0.5 and 0.9.
      penalty: weight of the gradient penalty in the critic's loss.
      adversarial: weight of the critic's score beside the loss. The score's slope is about 1 an
        image, whatever its size.
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    critic: CriticConfig = CriticConfig()
    critic_updates: int = 4
    critic_rate: float = 1e-4
    penalty: float = 10.0
    adversarial: float = 0.01
    ema_decay: float = 0.999

    label: ClassVar[str] = "WGAN"

    def __post_init__(self) -> None:
        if self.critic_updates < 1:
            raise UserError(f"method.critic_updates {self.critic_updates}: must be at least 1")

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return wgan(
            network,
            Critic(self.critic),
            optimizer,
            optax.adam(self.critic_rate, b1=0.5, b2=0.9),
            loss=loss,
            adversarial=self.adversarial,
            penalty=self.penalty,
            critic_updates=self.critic_updates,
            ema_decay=self.ema_decay,
        )


@dataclasses.dataclass(frozen=True)
class VAE(MethodConfig):
    """Variational autoencoder: a `CVAEConfig` network restores, a `VAEConfig` network generates.

    Attributes:
      beta: weight of the KL, in nats a number of the image, beside the loss; with the L2 loss
        `2 sigma²` is the ELBO of a decoder with noise sigma (the window is [0, 1]).
      free_bits: nats a latent channel that cost nothing extra.
      warmup: steps in which the KL's weight rises from 0.
      prior_share: share of the loss at what is restored from the prior's mean.
      ema_decay: decay a step of the averaged weights that restore; 0 uses the last weights.
    """

    beta: float = 1e-3
    free_bits: float = 0.0
    warmup: int = 0
    prior_share: float = 0.5
    ema_decay: float = 0.999

    label: ClassVar[str] = "VAE"

    def build(
        self, network: nn.Module, optimizer: optax.GradientTransformation, loss: Loss
    ) -> Method:
        return vae(
            network,
            optimizer,
            loss=loss,
            beta=self.beta,
            free_bits=self.free_bits,
            warmup=self.warmup,
            prior_share=self.prior_share,
            ema_decay=self.ema_decay,
        )
