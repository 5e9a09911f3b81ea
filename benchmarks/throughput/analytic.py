"""Floating-point operations that a step needs, from the layers' shapes and the method's algebra.

The count beside that of flops.py, which walks the program: both are to agree. A layer costs A
multiply-adds forward, A for its weight gradient and A for its input gradient; those that see data
alone need no input gradient. So one network trained on one loss costs 3 A less the A of its first
layer, and a multiply-add is two operations.

As there, a tap counts where it meets a sample and not where it meets the padding, so that MFU is
never flattered; in 4-D zeros beyond the ends of the leading axis count, because folding it into 3-D
multiplies them. Papers count all padding: `Layer.padded`, as `medjax.models.cost` does.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from medjax.methods.config import CGAN, VAE, WGAN, MethodConfig
from medjax.models.cost import LAYERS
from medjax.models.critic import Critic
from medjax.models.patchgan import PatchGAN
from medjax.nn.conv import Conv, ConvTranspose
from medjax.nn.geometry import explicit_padding, per_dimension, transposed_padding


class Layer(NamedTuple):
    """One call of a layer."""

    path: str
    """Names of the modules it lies in, from the network on."""
    adds: int
    """Multiply-adds of one forward pass, zeros of the padding left out."""
    padded: int
    """The same with them."""


class Step(NamedTuple):
    """Operations of one training step and of one restoration of a batch."""

    training: int
    inference: int
    padded_training: int
    """Training with all padding counted, as papers do."""


def step(network: nn.Module, method: MethodConfig, degraded: Any, clean: Any) -> Step:
    """What a method's step needs on a batch of these shapes (`jax.ShapeDtypeStruct`s)."""
    restoring = layers(network, degraded)
    inference = 2 * sum(layer.adds for layer in restoring)
    training, with_padding = (
        2 * _training(network, method, degraded, clean, restoring, padded)
        for padded in (False, True)
    )
    return Step(training, inference, with_padding)


def _training(
    network: nn.Module,
    method: MethodConfig,
    degraded: Any,
    clean: Any,
    restoring: Sequence[Layer],
    padded: bool,
) -> int:
    if isinstance(method, VAE):
        learning = layers(network, degraded, clean, method="reconstruct")
        # Encoders of the condition and of the clean image, each with a first layer of its own.
        return supervised(learning, padded, ("condition", "recognition", "encoder"))
    if isinstance(method, CGAN):
        judge = layers(PatchGAN(method.discriminator), degraded, clean)
        return supervised(restoring, padded) + judged(judge, padded)
    if isinstance(method, WGAN):
        critic = layers(Critic(method.critic), clean)
        return supervised(restoring, padded) + criticised(critic, padded, method.critic_updates)
    return supervised(restoring, padded)


def supervised(found: Sequence[Layer], padded: bool = False, parts: Sequence[str] = ("",)) -> int:
    """Multiply-adds of forward, weight and input gradients, without the first of each part's.

    Args:
      found: layers in the order of their calls.
      padded: whether zeros of the padding count.
      parts: beginnings of paths; the first layer of each sees data alone.
    """
    first = [next((x for x in found if x.path.startswith(part)), None) for part in parts]
    return 3 * _sum(found, padded) - sum(_cost(layer, padded) for layer in first if layer)


def judged(found: Sequence[Layer], padded: bool = False) -> int:
    """Multiply-adds of a conditional GAN's discriminator in one step.

    On real images forward, weight and input gradients but the first layer's: 3 A - F. On fakes the
    same for its own loss, and input gradients down to the image for the generator's: 4 A - F; one
    forward pass serves both. The first layer's input gradient is by image and condition together.
    """
    return 7 * _sum(found, padded) - 2 * _cost(found[0], padded)


def criticised(found: Sequence[Layer], padded: bool, updates: int) -> int:
    """Multiply-adds of a Wasserstein critic in one step.

    An update scores real images and fakes, 3 A - F each. The gradient penalty needs the slope by
    the mixed image, A forward without the last layer L (its score is not used) and A back; and the
    penalty's gradient by the weights: one pass up the slope's own chain without L, and A for the
    weights. Leaky ReLUs have no second derivative, so nothing goes down the first chain again.
    That is 4 A - 2 L. At the end the fakes are scored for the generator: A forward, A back.
    """
    every = _sum(found, padded)
    first, last = (_cost(found[i], padded) for i in (0, -1))
    return updates * (10 * every - 2 * first - 2 * last) + 2 * every


def layers(network: nn.Module, *inputs: Any, method: str | None = None) -> list[Layer]:
    """The layers that one call of the network passes, in order; nothing is computed."""
    found: list[Layer] = []

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module, out = context.module, call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(module, LAYERS):
            path = "/".join(module.path)
            found.append(Layer(path, *_adds(module, args[0].shape, out.shape)))
        return out

    keys = {name: jax.random.key(0) for name in ("params", "dropout", "latent")}
    variables = jax.eval_shape(lambda *x: network.init(keys, *x, method=method), *inputs)
    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda v, *x: network.apply(v, *x, train=False, rngs=keys, method=method),
            variables,
            *inputs,
        )
    return found


def _sum(found: Sequence[Layer], padded: bool) -> int:
    return sum(_cost(layer, padded) for layer in found)


def _cost(layer: Layer, padded: bool) -> int:
    return layer.padded if padded else layer.adds


def _adds(module: nn.Module, given: tuple[int, ...], made: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds of a layer from and to these shapes, without and with the padding."""
    if isinstance(module, nn.Dense):
        adds = math.prod(made) * given[-1]
        return adds, adds
    assert isinstance(module, Conv | ConvTranspose)
    n = len(given) - 2
    window = per_dimension(module.kernel_size, n)
    strides = per_dimension(module.strides, n)
    spread = per_dimension(module.kernel_dilation, n)
    if isinstance(module, ConvTranspose):
        # What a strided convolution of the large image to the small one would pad.
        pads = transposed_padding(module.padding, window, strides, spread)
        lows = [(k - 1) * d - lo for k, d, (lo, _) in zip(window, spread, pads, strict=True)]
        large, small, groups = made, given, 1
    else:
        pads = explicit_padding(module.padding, given[1:-1], window, strides, spread)
        lows = [lo for lo, _ in pads]
        large, small, groups = given, made, module.feature_group_count
    channels = given[0] * given[-1] * made[-1] // groups
    axes = zip(large[1:-1], small[1:-1], window, strides, lows, spread, strict=True)
    met = [
        positions * taps if n == 4 and axis == 0 else _met(size, positions, taps, *rest)
        for axis, (size, positions, taps, *rest) in enumerate(axes)
    ]
    return channels * math.prod(met), channels * math.prod(small[1:-1]) * math.prod(window)


def _met(size: int, positions: int, taps: int, stride: int, low: int, spread: int) -> int:
    """How many positions each tap serves with a sample, `0 <= p stride + t spread - low < size`."""
    total = 0
    for tap in range(taps):
        start = tap * spread - low
        first = max(0, -(start // stride))
        last = min(positions - 1, (size - 1 - start) // stride)
        total += max(0, last - first + 1)
    return total
