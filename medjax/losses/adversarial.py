"""Adversarial losses: what a discriminator's logits cost it, and the generator.

Each takes logits of any shape (a PatchGAN answers with a grid) and returns their mean loss, a
float32 scalar.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Adversarial = Literal["bce", "lsgan", "hinge"]
Logits = Float[Array, "*shape"]


class AdversarialLoss(NamedTuple):
    """The three terms of a game between discriminator and generator."""

    real: Callable[[Logits], Float[Array, ""]]
    """The discriminator's loss on logits of real images."""
    fake: Callable[[Logits], Float[Array, ""]]
    """The discriminator's loss on logits of generated images."""
    generator: Callable[[Logits], Float[Array, ""]]
    """The generator's loss on logits of generated images."""


def _bce_ones(logits: Logits) -> Float[Array, ""]:
    # -log sigmoid(x) = log(1 + exp(-x)), without overflow.
    return jnp.mean(jax.nn.softplus(-logits))


def _bce_zeros(logits: Logits) -> Float[Array, ""]:
    return jnp.mean(jax.nn.softplus(logits))


BCE = AdversarialLoss(real=_bce_ones, fake=_bce_zeros, generator=_bce_ones)
"""Binary cross-entropy; the generator's is the non-saturating form (arXiv:1406.2661)."""

LSGAN = AdversarialLoss(
    real=lambda logits: jnp.mean(jnp.square(logits - 1)),
    fake=lambda logits: jnp.mean(jnp.square(logits)),
    generator=lambda logits: jnp.mean(jnp.square(logits - 1)),
)
"""Least squares with targets 1 and 0 (arXiv:1611.04076)."""

HINGE = AdversarialLoss(
    real=lambda logits: jnp.mean(jax.nn.relu(1 - logits)),
    fake=lambda logits: jnp.mean(jax.nn.relu(1 + logits)),
    generator=lambda logits: -jnp.mean(logits),
)
"""Hinge loss (arXiv:1705.02894)."""

_LOSSES = {"bce": BCE, "lsgan": LSGAN, "hinge": HINGE}


def adversarial_loss(name: Adversarial) -> AdversarialLoss:
    """The loss called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in _LOSSES:
        raise ValueError(f"adversarial loss is one of {', '.join(_LOSSES)}, not {name!r}")
    return _LOSSES[name]
