"""Attention that weighs features: over positions (attention gate), over channels (squeeze-excite).

Arrays are `[batch, *space, channel]` with any number of spatial dimensions. Both scale their input
by factors in (0, 1) and start near 1, so that a network learns what to leave out.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from medjax.nn.conv import Conv

# sigmoid(2) = 0.88: open at the start, yet not so far out that the gradient is gone.
_OPEN = nn.initializers.constant(2.0)


class AttentionGate(nn.Module):
    """Weigh the positions of a skip connection by what the decoder asks for there.

    Additive attention (Oktay et al., arXiv:1804.03999): `skip * sigmoid(w . relu(A skip + B
    gating))`, with 1x1 convolutions A, B and w. The gating features have the skip's resolution
    here, as they come out of the up-sampling; the paper takes them before it.

    Attributes:
        features: channels in which the two are compared; half of the skip's if None.
        dtype: type in which to compute.
    """

    features: int | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, skip: Float[Array, "batch *space c"], gating: Float[Array, "batch *space d"]
    ) -> Float[Array, "batch *space c"]:
        """`skip` scaled by one number a position.

        Raises:
            ValueError: the two differ in size.
        """
        if skip.shape[:-1] != gating.shape[:-1]:
            raise ValueError(f"skip {skip.shape} and gating {gating.shape} differ in size")
        one = (1,) * (skip.ndim - 2)
        features = max(1, skip.shape[-1] // 2) if self.features is None else self.features
        compared = Conv(features, one, dtype=self.dtype, name="skip")(skip) + Conv(
            features, one, use_bias=False, dtype=self.dtype, name="gating"
        )(gating)
        weight = Conv(1, one, dtype=self.dtype, bias_init=_OPEN, name="weight")(nn.relu(compared))
        return skip * nn.sigmoid(weight).astype(skip.dtype)


class SqueezeExcite(nn.Module):
    """Weigh the channels of an image by its own means (Hu et al., arXiv:1709.01507).

    The means are over the whole of what the network sees: a tile of a scan is weighed by itself.

    Attributes:
        reduction: by how much the hidden layer is narrower than the input, down to 4 channels:
            with fewer, all its ReLUs may be shut from the start.
        dtype: type in which to compute.
    """

    reduction: int = 4
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space c"]) -> Float[Array, "batch *space c"]:
        """`x` scaled by one number a channel of each image."""
        channels = x.shape[-1]
        mean = jnp.mean(x, tuple(range(1, x.ndim - 1)), keepdims=True, dtype=jnp.float32)
        hidden = nn.Dense(max(4, channels // self.reduction), dtype=self.dtype)(mean)
        weight = nn.Dense(channels, dtype=self.dtype, bias_init=_OPEN)(nn.relu(hidden))
        return x * nn.sigmoid(weight).astype(x.dtype)
