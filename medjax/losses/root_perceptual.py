"""Perceptual + SSIM loss of which every image of a batch gets its share."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array

from medjax.losses.config import PerceptualSSIM, PixelLoss
from medjax.losses.perceptual import feature_distance
from medjax.losses.pixel import l1
from medjax.losses.planes import over_planes
from medjax.losses.ssim import WINDOW, ssim
from medjax.losses.window import soft_clip
from medjax.models.vgg import smallest_side

# Under the root, whose slope is infinite at 0.
FLOOR = 1e-8


@dataclasses.dataclass(frozen=True)
class RootPerceptualSSIM(PerceptualSSIM):
    """The square root of `PerceptualSSIM`'s mix, image by image; of volumes, slice by slice.

    Both terms grow with the square of an error, so in a batch of several doses the worst image
    rules, and what is nearly right hardly pulls. The root makes images count alike, as L1 does
    beside L2. SSIM is taken of the slices that VGG16 sees, in 2-D.
    """

    def build(self) -> PixelLoss:
        space = self.space()
        smallest = max(smallest_side(self.layers), WINDOW)

        def distance(restored: Array, clean: Array) -> Array:
            mixed = self.perceptual * feature_distance(restored, clean, space=space)
            if self.ssim:
                mixed = mixed + self.ssim * (1 - ssim(restored, clean, data_range=1.0))
            # SSIM of equal images can round to a little above 1.
            roots = jnp.sqrt(jnp.maximum(mixed, 0) + FLOOR)
            return jnp.mean(roots) - math.sqrt(FLOOR)

        def loss(restored: Array, clean: Array) -> Array:
            near = [soft_clip(x, self.low, self.high) for x in (restored, clean)]
            value = over_planes(distance, *near, slices=self.slices, smallest=smallest)
            return value + self.anchor * l1(restored, clean) if self.anchor else value

        return loss
