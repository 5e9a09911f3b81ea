"""medjax's training steps in PyTorch: the same losses, gradients, Adam and averaged weights.

Each step returns medjax's metrics of it, so that the two can be compared number by number. Steps
are written to be fast: a GAN's fakes pass the discriminator once, for both gradients.
"""

import contextlib
import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.torch_latent import Gaussian, Reconstruction
from medjax.methods.config import CGAN, VAE, WGAN

Metrics = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Learner:
    """A network with its optimiser and, where it restores, its averaged twin.

    Attributes:
      net: in training mode.
      average: in evaluation mode, or None.
      half: whether it computes in bfloat16 under autocast.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        decay: float | None = None,
        half: bool = False,
    ):
        self.net, self.half, self.decay = net.train(), half, decay
        self.average = None if decay is None else copy.deepcopy(net).eval().requires_grad_(False)
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        fused = self.parameters[0].is_cuda
        self._optimizer = torch.optim.Adam(self.parameters, lr=rate, betas=betas, fused=fused)
        if self.average is not None:
            # Statistics are averaged as weights are.
            self._now = [x for x in _state(net) if x.is_floating_point()]
            self._kept = [x for x in _state(self.average) if x.is_floating_point()]

    def computing(self) -> contextlib.AbstractContextManager:
        """Where its networks run."""
        return torch.autocast(self.parameters[0].device.type, torch.bfloat16, enabled=self.half)

    def move(self, gradient: Sequence[torch.Tensor]) -> torch.Tensor:
        """One step of the optimiser; returns the gradient's norm."""
        norm = torch.nn.utils.get_total_norm(gradient)
        for parameter, slope in zip(self.parameters, gradient, strict=True):
            parameter.grad = slope
        self._optimizer.step()
        if self.decay is not None:
            with torch.no_grad():
                _lerp(self._kept, self._now, 1 - self.decay)
        return norm

    def slopes(self, value: torch.Tensor, **more) -> tuple[torch.Tensor, ...]:
        """The gradient of `value` by the parameters."""
        return torch.autograd.grad(value, self.parameters, **more)


# Public nowhere, and what PyTorch's own averaged models call.
_lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]


def _state(net: nn.Module) -> list[torch.Tensor]:
    return [*net.parameters(), *net.buffers()]


def l1(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return (restored - clean).abs().mean()


def l2(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(restored, clean)


def regression(learner: Learner, degraded: torch.Tensor, clean: torch.Tensor) -> Metrics:
    """medjax.methods.regression with L1."""
    with learner.computing():
        restored = learner.net(degraded)
    loss = l1(restored, clean)
    return {"loss": loss.detach(), "gradient_norm": learner.move(learner.slopes(loss))}


def cgan(
    generator: Learner,
    discriminator: Learner,
    config: CGAN,
    degraded: torch.Tensor,
    clean: torch.Tensor,
) -> Metrics:
    """medjax.methods.cgan with L1 and binary cross-entropy."""
    weights = config.weights
    with generator.computing():
        fake = generator.net(degraded)
        shown = fake.detach().requires_grad_()
        real_logits = discriminator.net(degraded, clean)
        logits = discriminator.net(degraded, shown)
    real, caught = functional.softplus(-real_logits).mean(), functional.softplus(logits).mean()
    fooled, pixel = functional.softplus(-logits).mean(), l1(fake, clean)
    (to_fool,) = torch.autograd.grad(fooled, shown, retain_graph=True)
    slopes = discriminator.slopes((real + caught) / 2)
    (to_match,) = torch.autograd.grad(pixel, fake, retain_graph=True)
    own = generator.slopes(
        fake, grad_outputs=weights.adversarial * to_fool + weights.pixel * to_match
    )
    return {
        "loss": (weights.adversarial * fooled + weights.pixel * pixel).detach(),
        "pixel": pixel.detach(),
        "adversarial": fooled.detach(),
        "discriminator_real": real.detach(),
        "discriminator_fake": caught.detach(),
        "gradient_norm": generator.move(own),
        "discriminator_gradient_norm": discriminator.move(slopes),
    }


def wgan(
    generator: Learner,
    critic: Learner,
    config: WGAN,
    degraded: torch.Tensor,
    clean: torch.Tensor,
    shares: Sequence[torch.Tensor],
) -> Metrics:
    """medjax.methods.wgan with L1; `shares` mix real and fake images, one tensor an update."""
    with generator.computing():
        fake = generator.net(degraded)
    shown = fake.detach()
    metrics: Metrics = {}
    for share in shares:
        mixed = (shown + share * (clean - shown)).requires_grad_()
        with critic.computing():
            gap = critic.net(clean).mean() - critic.net(shown).mean()
            (slope,) = torch.autograd.grad(critic.net(mixed).sum(), mixed, create_graph=True)
        steep = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()
        penalty = (steep - 1).square().mean()
        # The penalty does not see the last bias.
        slopes = critic.slopes(config.penalty * penalty - gap)
        metrics |= {"wasserstein": gap.detach(), "penalty": penalty.detach()}
        metrics["critic_gradient_norm"] = critic.move(slopes)
    shown = fake.detach().requires_grad_()
    with critic.computing():
        fooled = -critic.net(shown).mean()
    pixel = l1(fake, clean)
    (to_fool,) = torch.autograd.grad(fooled, shown)
    (to_match,) = torch.autograd.grad(pixel, fake, retain_graph=True)
    own = generator.slopes(fake, grad_outputs=config.adversarial * to_fool + to_match)
    metrics |= {
        "loss": (pixel + config.adversarial * fooled).detach(),
        "pixel": pixel.detach(),
        "adversarial": fooled.detach(),
        "gradient_norm": generator.move(own),
    }
    return metrics


def vae(
    learner: Learner,
    config: VAE,
    degraded: torch.Tensor,
    clean: torch.Tensor,
    noise: torch.Tensor,
) -> Metrics:
    """medjax.methods.vae with L2, without warm-up and free bits; `noise` draws the sample."""
    with learner.computing():
        out: Reconstruction = learner.net.reconstruct(degraded, clean, noise)  # pyright: ignore
    fit = reconstruction = l2(out.image, clean)
    metrics = {"reconstruction": reconstruction.detach()}
    if out.restored is not None:
        restoration = l2(out.restored, clean)
        metrics["restoration"] = restoration.detach()
        fit = (1 - config.prior_share) * reconstruction + config.prior_share * restoration
    mean, log_variance = _standardised(out.posterior, out.prior)
    divergence = 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)
    kl = divergence.sum() / len(clean)
    loss = fit + config.beta / clean[0].numel() * kl
    metrics |= {"kl": kl.detach(), "loss": loss.detach()}
    return metrics | {"gradient_norm": learner.move(learner.slopes(loss))}


def _standardised(posterior: Gaussian, prior: Gaussian | None) -> Gaussian:
    if prior is None:
        return posterior
    return Gaussian(
        (posterior.mean - prior.mean) * torch.exp(-prior.log_variance / 2),
        posterior.log_variance - prior.log_variance,
    )
