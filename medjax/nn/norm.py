"""Batch normalisation, drop-in for Flax Linen's, with statistics in one pass.

XLA sums a large array over all but its channels on CPU in a tree of windows, 3 to 7 times slower
than reading it once. Here a loop over blocks adds up both sums that a pass needs: of x and x² on
the way forward, of dy and dy·x on the way back. Other platforms take XLA's reductions.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

# Numbers a block and array: what a first-level cache holds.
_BLOCK = 2**14


class BatchNorm(nn.Module):
    """`flax.linen.BatchNorm` over the last axis: same parameters, statistics and results.

    For batches split over devices by `jax.jit` the statistics are those of the whole batch; there
    is no `axis_name`, which `pmap` would need for that.

    Attributes:
        use_running_average: normalise by stored statistics instead of the batch's; here or in
            the call.
        momentum: of the stored statistics.
        epsilon: added to the variance.
        dtype: of the result; that of the input if None. Statistics are computed in float32.
        param_dtype: of the parameters.
        use_bias: whether to add a learned bias.
        use_scale: whether to multiply by a learned scale.
        bias_init: initialiser of the bias.
        scale_init: initialiser of the scale.
    """

    use_running_average: bool | None = None
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = nn.initializers.zeros
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch_space channel"], use_running_average: bool | None = None
    ) -> Float[Array, "*batch_space channel"]:
        """Normalise each channel of `x`."""
        stored = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        shape = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = bias = None
        if self.use_scale:
            scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        scale = jnp.ones(shape, wide) if scale is None else scale.astype(wide)
        bias = jnp.zeros(shape, wide) if bias is None else bias.astype(wide)
        if stored:
            factor = scale * lax.rsqrt(var.value.astype(wide) + self.epsilon)
            y = (x.astype(wide) - mean.value.astype(wide)) * factor + bias
            return y.astype(self.dtype or x.dtype)
        normal = normalised(x.astype(wide), scale, bias, self.epsilon)
        y, batch_mean, batch_var = normal  # pyright: ignore[reportGeneralTypeIssues]
        if not self.is_initializing():
            mean.value = self._moved(mean.value, batch_mean)
            var.value = self._moved(var.value, batch_var)
        return y.astype(self.dtype or x.dtype)

    def _moved(self, stored: Array, new: Array) -> Array:
        new = lax.stop_gradient(new).astype(stored.dtype)
        return self.momentum * stored + (1 - self.momentum) * new


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalised(
    x: Float[Array, "*batch_space channel"],
    scale: Float[Array, " channel"],
    bias: Float[Array, " channel"],
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Normalise by the batch's own statistics; returns them too, without a gradient.

    Returns:
        The normalised array, the mean and the biased variance of each channel.
    """
    return _normalised_fwd(x, scale, bias, epsilon)[0]


def _normalised_fwd(x, scale, bias, epsilon):
    count = x.size // x.shape[-1]
    total, squares = channel_sums(x, x)
    mean = total / count
    # Rounding can put the difference below zero.
    var = jnp.maximum(squares / count - mean**2, 0)
    inverse = lax.rsqrt(var + epsilon)
    y = (x - mean) * (inverse * scale) + bias
    return (y, mean, var), (x, scale, mean, inverse)


def _normalised_bwd(epsilon, saved, cotangents):
    del epsilon
    x, scale, mean, inverse = saved
    dy = cotangents[0]
    count = x.size // x.shape[-1]
    dbias, product = channel_sums(dy, x)
    dscale = (product - mean * dbias) * inverse
    slope = inverse * dscale / count
    dx = (dy - dbias / count - (x - mean) * slope) * (inverse * scale)
    return dx, dscale, dbias


normalised.defvjp(_normalised_fwd, _normalised_bwd)


@jax.custom_vjp
def channel_sums(
    a: Float[Array, "*batch_space channel"], b: Float[Array, "*batch_space channel"]
) -> tuple[Float[Array, " channel"], Float[Array, " channel"]]:
    """Sums of `a` and of `a * b` over all but the last axis."""
    return lax.platform_dependent(a, b, cpu=_blocked_sums, default=_plain_sums)


def _channel_sums_fwd(a, b):
    return channel_sums(a, b), (a, b)


def _channel_sums_bwd(saved, cotangents):
    a, b = saved
    dsum, dproduct = cotangents
    return dsum + dproduct * b, dproduct * a


channel_sums.defvjp(_channel_sums_fwd, _channel_sums_bwd)


def _plain_sums(a: Array, b: Array) -> tuple[Array, Array]:
    axes = tuple(range(a.ndim - 1))
    return a.sum(axes), (a * b).sum(axes)


def _blocked_sums(a: Array, b: Array) -> tuple[Array, Array]:
    """Loop over positions; the first axis stays apart, as it may be split over devices."""
    if a.ndim < 3:
        return _plain_sums(a, b)
    batch, channels = a.shape[0], a.shape[-1]
    positions = a.size // max(1, batch * channels)
    count = _divisor(positions, positions * batch * channels // _BLOCK)
    if count == 1:
        return _plain_sums(a, b)
    a, b = (v.reshape(batch, count, -1, channels) for v in (a, b))

    def add(index: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        u, v = (lax.dynamic_index_in_dim(w, index, 1, keepdims=False) for w in (a, b))
        return sums[0] + u.sum(1), sums[1] + (u * v).sum(1)

    zero = jnp.zeros((batch, channels), a.dtype)
    first, second = lax.fori_loop(0, count, add, (zero, zero))
    return first.sum(0), second.sum(0)


def _divisor(n: int, wanted: int) -> int:
    """The divisor of `n` nearest below `wanted`, at least 1."""
    return next(d for d in range(min(n, max(1, wanted)), 0, -1) if n % d == 0) if n else 1
