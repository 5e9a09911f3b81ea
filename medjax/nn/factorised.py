"""Convolution over space and then over time (R(2+1)D, Tran et al., arXiv:1711.11248).

The leading axis of space is time: `[batch, t, *space, channel]`; of a volume it is the axis through
the slices. A joint convolution of 3 taps an axis has 81 taps in 4-D; split it has 27 and 3, with
one more activation between them.

Beyond the paper, time keeps its length, and the convolution over it starts as the identity where
the widths allow: an untrained network treats each slice as one of a dimension less would, and
learns from there what the neighbours add (as video networks do that start from images: Carreira,
Zisserman, arXiv:1705.07750; Singer et al., arXiv:2209.14792).
"""

from collections.abc import Callable
from math import prod
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float, PRNGKeyArray

from medjax.nn.conv import Conv, default_kernel_init

Axes = tuple[bool, ...]
"""For each axis of `[t, *space]`, whether a convolution spans it."""


def factors(dims: int) -> tuple[Axes, Axes]:
    """The axes of the convolution over space, and of the one over time."""
    return (False, *(True,) * (dims - 1)), (True, *(False,) * (dims - 1))


def along(axes: Axes, n: int, elsewhere: int = 1) -> tuple[int, ...]:
    """`n` along the axes that are spanned, `elsewhere` along the others."""
    return tuple(n if spanned else elsewhere for spanned in axes)


def equal_width(inputs: int, features: int, window: tuple[int, ...]) -> int:
    """Channels between the two convolutions that give them the weights of the joint one.

    The paper's rule: `t s inputs features / (s inputs + t features)`, rounded down, with `t` taps
    over time and `s` over space.
    """
    time, space = window[0], prod(window[1:])
    return max(1, time * space * inputs * features // (space * inputs + time * features))


class FactorisedConv(nn.Module):
    """A convolution over space, an activation, a convolution over time.

    Stands in for `Conv` on `[batch, t, *space, channel]` with 1 to 3 axes of space after time and
    an odd `kernel_size`. Time is never strided.

    Attributes:
        features: channels of the result.
        kernel_size: taps along each axis.
        strides: of the windows along each axis of space.
        padding: `"SAME"`, `"VALID"` or the zeros on each side of each axis.
        use_bias: whether the second convolution adds a bias; the first always does.
        dtype: type in which to compute.
        kernel_init: initialiser of the kernel over space, and of that over time where `middle`
            differs from `features`; else the latter starts as the identity.
        middle: channels between the two; `features` if None. `equal_width` gives the paper's.
        between: the activation.

    Raises:
        ValueError: the input has no axis of space beside time, or more than 3.
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: int = 1
    padding: str | int = "SAME"
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = default_kernel_init
    middle: int | None = None
    between: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch t *space channel"]
    ) -> Float[Array, "batch t2 *space2 features"]:
        dims = len(self.kernel_size)
        if dims not in (2, 3, 4) or x.ndim != dims + 2:
            raise ValueError(
                f"a convolution factorised over {dims} axes takes [batch, t, *space, channel] "
                f"with 1 to 3 axes of space, got {x.shape}"
            )
        space, time = factors(dims)
        middle = self.features if self.middle is None else self.middle
        start = identity if middle == self.features else self.kernel_init
        steps = along(space, self.strides)
        h = self.between(self._part(space, middle, self.kernel_init, steps, use_bias=True)(x))
        return self._part(time, self.features, start, 1, use_bias=self.use_bias)(h)

    def _part(
        self,
        axes: Axes,
        features: int,
        start: Initializer,
        strides: int | tuple[int, ...],
        *,
        use_bias: bool,
    ) -> Conv:
        zeros = self.padding
        return Conv(
            features,
            tuple(k if spanned else 1 for k, spanned in zip(self.kernel_size, axes, strict=True)),
            strides=strides,
            padding=zeros if isinstance(zeros, str) else along(axes, zeros, elsewhere=0),
            use_bias=use_bias,
            dtype=self.dtype,
            kernel_init=start,
        )


def identity(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Initialiser of `[*window, channel, features]`: the middle tap hands each channel on."""
    middle = tuple(n // 2 for n in shape[:-2])
    return jnp.zeros(shape, dtype).at[middle].set(jnp.eye(*shape[-2:], dtype=dtype))
