"""Losses that compare sample by sample: L1, L2 and Charbonnier."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def l1(
    restored: Float[Array, "batch *space channel"], clean: Float[Array, "batch *space channel"]
) -> Float[Array, ""]:
    """Mean absolute error over everything; its optimum is the median, so it blurs less than L2.

    Zhao et al., "Loss functions for image restoration with neural networks", IEEE TCI 2017.
    """
    check_shapes(restored, clean)
    return jnp.mean(jnp.abs(restored - clean))


def l2(
    restored: Float[Array, "batch *space channel"], clean: Float[Array, "batch *space channel"]
) -> Float[Array, ""]:
    """Mean squared error over everything; its optimum is the mean, and it maximises PSNR."""
    check_shapes(restored, clean)
    return jnp.mean(jnp.square(restored - clean))


def charbonnier(
    restored: Float[Array, "batch *space channel"],
    clean: Float[Array, "batch *space channel"],
    *,
    epsilon: float = 1e-3,
) -> Float[Array, ""]:
    """Mean of sqrt(difference² + epsilon²): L1 with a gradient that is smooth through zero.

    Charbonnier et al., ICIP 1994; as a restoration loss Lai et al., CVPR 2017.

    Args:
      restored: what the network gave.
      clean: what it should have given.
      epsilon: width of the rounded tip, in the images' unit; equal images cost epsilon, not 0.

    Raises:
      ValueError: epsilon is not positive (the gradient at equality would be NaN), or the shapes
        differ.
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    check_shapes(restored, clean)
    return jnp.mean(jnp.sqrt(jnp.square(restored - clean) + epsilon**2))


def check_shapes(restored: Array, clean: Array) -> None:
    """Raises ValueError where they differ."""
    # Broadcasting [b, y, x, 1] against [b, y, x] would quietly compare all pairs.
    if restored.shape != clean.shape:
        raise ValueError(f"shapes differ: restored {restored.shape}, clean {clean.shape}")
