"""Values far outside the display window, brought near it without losing their gradient."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def soft_clip(
    x: Float[Array, "*shape"], low: float = -0.1, high: float = 1.1
) -> Float[Array, "*shape"]:
    """`x` between `low` and `high`, and its logarithm beyond them.

    With w a tenth of the range, an excess e over an end counts as w log(1 + e / w). Smooth in
    value and slope and rising everywhere, so that bone and metal neither rule a loss nor drop out
    of it: where a hard clip has no gradient, this has one that falls as one over the distance. In
    a soft-tissue window of [0, 1] bone at 8 comes to 1.59.
    """
    width = 0.1 * (high - low)
    # Not jnp.clip, whose slope is one half on the ends themselves, where flat images may lie.
    beyond = jnp.where(x > high, x - high, jnp.where(x < low, x - low, 0.0))
    return x - beyond + jnp.sign(beyond) * width * jnp.log1p(jnp.abs(beyond) / width)
