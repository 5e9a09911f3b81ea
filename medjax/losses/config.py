"""The losses against the clean image as settings of an experiment."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.errors import UserError
from medjax.losses.bias import bias_constrained
from medjax.losses.gradient import edge_loss
from medjax.losses.perceptual import FeatureSpace, feature_space, perceptual_loss
from medjax.losses.pixel import charbonnier, l1, l2
from medjax.losses.planes import fold_short
from medjax.losses.ssim import WINDOW, ms_ssim_loss, ms_ssim_weights, ssim_loss
from medjax.losses.window import soft_clip
from medjax.weights import vgg16

PixelLoss = Callable[[Float[Array, "batch *space c"], Float[Array, "batch *space c"]], Array]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Base of every loss's settings.

    Attributes:
      pairs: neighbours in a batch must be two noise draws of one image.
    """

    pairs: ClassVar[bool] = False

    def build(self) -> PixelLoss:
        """`(restored, clean) -> scalar`, both as the network sees them: the window is [0, 1]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class L1(LossConfig):
    """Mean absolute error."""

    def build(self) -> PixelLoss:
        return l1


@dataclasses.dataclass(frozen=True)
class L2(LossConfig):
    """Mean squared error."""

    def build(self) -> PixelLoss:
        return l2


@dataclasses.dataclass(frozen=True)
class Charbonnier(LossConfig):
    """Smooth L1.

    Attributes:
      epsilon: width of the rounded tip, as a fraction of the window.
    """

    epsilon: float = 1e-3

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            return charbonnier(restored, clean, epsilon=self.epsilon)

        return loss


@dataclasses.dataclass(frozen=True)
class WindowedL1(LossConfig):
    """L1 that spends itself on the values that are read, and keeps the rest honest.

    Bone and air span ten times the soft-tissue window; plain L1 would fit their edges first.

    Attributes:
      low: lower end of what counts in full; the display window is [0, 1].
      high: upper end of it.
      outside: weight of the plain L1 over all values, added to keep bone and lung right.
    """

    low: float = -0.1
    high: float = 1.1
    outside: float = 0.1

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            inside = l1(
                jnp.clip(restored, self.low, self.high), jnp.clip(clean, self.low, self.high)
            )
            return inside + self.outside * l1(restored, clean)

        return loss


@dataclasses.dataclass(frozen=True)
class BiasConstrained(LossConfig):
    """Squared error in which noise weighs less than what is smoothed away; see `losses.bias`.

    It takes two noise draws of each patch (`noises` of the task).

    Attributes:
      variance: weight of the noise that is left, beside 1 for systematic errors.
      low: lower end of what counts in full, to which values are cut; the display window is [0, 1].
      high: upper end of it.
      outside: weight of plain L1 over all values, which keeps bone and lung right.
    """

    variance: float = 0.3
    low: float = -0.1
    high: float = 1.1
    outside: float = 0.1

    pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variance <= 0:
            raise UserError(f"loss.variance {self.variance}: must be positive")

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            near = (jnp.clip(x, self.low, self.high) for x in (restored, clean))
            inside = bias_constrained(*near, variance=self.variance)
            return inside + self.outside * l1(restored, clean)

        return loss


@dataclasses.dataclass(frozen=True)
class SSIM(LossConfig):
    """One minus SSIM, of volumes with a window of 11 samples along every axis.

    SSIM's own optimum leaves absolute values loose, so CT wants some of the anchor. Times of a
    series, and the leading axis of a volume of fewer than 11 slices, are compared one by one.

    Attributes:
      anchor: weight of plain L1 over all values, added.
      low: from here down values are compressed (`losses.window`); the window is [0, 1].
      high: from here up, likewise.
    """

    anchor: float = 0.0
    low: float = -0.1
    high: float = 1.1

    def build(self) -> PixelLoss:
        return _similarity(self, ssim_loss)


@dataclasses.dataclass(frozen=True)
class MSSSIM(LossConfig):
    """One minus multi-scale SSIM; fields as in `SSIM`.

    Attributes:
      scales: finest first; 1 to 5 of them need patches of 11, 21, 41, 81 or 161 samples a side.
      anchor: weight of plain L1 over all values, added. 5.25 with 5 scales is about the mix of
        Zhao et al., IEEE TCI 2017 (0.84 MS-SSIM and 0.16 L1).
      low: from here down values are compressed; the window is [0, 1].
      high: from here up, likewise.
    """

    scales: int = 3
    anchor: float = 0.0
    low: float = -0.1
    high: float = 1.1

    def build(self) -> PixelLoss:
        weights = ms_ssim_weights(self.scales)
        return _similarity(self, functools.partial(ms_ssim_loss, weights=weights))


def _similarity(config: SSIM | MSSSIM, similarity: Callable[..., Array]) -> PixelLoss:
    def loss(restored: Array, clean: Array) -> Array:
        near = [
            fold_short(soft_clip(x, config.low, config.high), WINDOW) for x in (restored, clean)
        ]
        value = similarity(*near, data_range=1.0)
        return value + config.anchor * l1(restored, clean) if config.anchor else value

    return loss


@dataclasses.dataclass(frozen=True)
class Edge(LossConfig):
    """L1 of the values and of their differences between neighbours.

    Attributes:
      edges: weight of the differences, beside 1 for the values.
      low: from here down values are compressed for the differences; the window is [0, 1].
      high: from here up, likewise.
    """

    edges: float = 1.0
    low: float = -0.1
    high: float = 1.1

    def build(self) -> PixelLoss:
        def loss(restored: Array, clean: Array) -> Array:
            near = [fold_short(soft_clip(x, self.low, self.high), 2) for x in (restored, clean)]
            return l1(restored, clean) + self.edges * edge_loss(*near)

        return loss


@dataclasses.dataclass(frozen=True)
class PerceptualSSIM(LossConfig):
    """VGG16 features and SSIM, 0.7 to 0.3, and no more; the anchor is an addition.

    Both terms are without unit, 0 at equality and about 1 for unlike images (the features by
    `losses.perceptual.feature_space`), so the two weights can be compared. Neither fixes absolute
    values: where HU count, anchor them. Before both, values beyond `low` and `high` are
    compressed, not cut, so that bone neither rules the loss nor loses its gradient.

    Attributes:
      perceptual: weight of the features' difference.
      ssim: weight of one minus SSIM; 0 leaves it out.
      anchor: weight of plain L1 over all values.
      layers: VGG16 layers that are compared, relu1_1 to relu5_3.
      layer_weights: how much each counts; only their ratios matter.
      weights: "bundled" up to relu3_3; "keras" or "torchvision" after medjax weights fetch vgg16.
      slices: of volumes, most slices a case and step that VGG16 sees.
      low: from here down values are compressed; the window is [0, 1].
      high: from here up, likewise.
    """

    perceptual: float = 0.7
    ssim: float = 0.3
    anchor: float = 0.0
    layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3")
    layer_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    weights: vgg16.Source = "bundled"
    slices: int = 16
    low: float = -0.1
    high: float = 1.1

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.layer_weights):
            raise UserError(
                f"loss.layer_weights: {len(self.layer_weights)} numbers for {len(self.layers)} "
                "layers; give one for each"
            )
        if self.slices < 1:
            raise UserError(f"loss.slices {self.slices}: must be at least 1")

    def space(self) -> FeatureSpace:
        """The features that are compared.

        Raises:
          UserError: the weights are not there, or do not reach the layers.
        """
        weights = vgg16.load(self.weights)
        vgg16.require_layers(weights, self.layers)
        return feature_space(weights, dict(zip(self.layers, self.layer_weights, strict=True)))

    def build(self) -> PixelLoss:
        space = self.space()
        similarity = SSIM(low=self.low, high=self.high).build()

        def loss(restored: Array, clean: Array) -> Array:
            near = [soft_clip(x, self.low, self.high) for x in (restored, clean)]
            seen = perceptual_loss(*near, space=space, slices=self.slices)
            value = self.perceptual * seen
            if self.ssim:
                value = value + self.ssim * similarity(restored, clean)
            return value + self.anchor * l1(restored, clean) if self.anchor else value

        return loss
