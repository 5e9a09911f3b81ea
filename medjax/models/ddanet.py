"""DDANet, the dual-domain attention network for low-dose CT.

A network cleans the projections, filtered backprojection carries its correction into the image,
and a second network restores the image from what came of both; trained end to end. The plan is
that of dual-domain networks (Lin et al., "DuDoNet", CVPR 2019; Adler & Öktem, arXiv:1707.06474).

Backprojection is linear, so FBP(cleaned) = FBP(raw) + FBP(cleaned - raw): only the correction is
backprojected, and added to the image that is there already. That costs one backprojection, loses
nothing of a scanner's own image, and an untrained network returns that image bit by bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from medjax.models.attention_net import AttentionNet, AttentionNetConfig
from medjax.models.base import NetworkConfig, check_lowest
from medjax.physics.ct import Filter, Geometry, ParallelBeam, box_mean, fbp

# Rows of views appended at both ends of the turn: what a few convolutions reach.
_TURN = 8
# Detectors and views averaged for the coarse sinogram, beside which the noise stands out.
_COARSE = 5
# Noise of this share of the mean value along a ray is "0" to the network.
_USUAL_NOISE = 0.01


class Dual(NamedTuple):
    """What DDANet makes of its input, in both domains."""

    image: Float[Array, "batch y x 1"]
    """The restored image, in the input's unit."""
    sinogram: Float[Array, "batch views detectors slices"]
    """The cleaned projections, in the input's unit."""


@dataclass(frozen=True)
class DDANetConfig(NetworkConfig):
    """The virtual scanner and the two networks of a `DDANet`."""

    geometry: Geometry = ParallelBeam.for_image(256, 1.5, views=360)
    """Where the rays of the sinogram run, parallel or fan; its pixel is that of the image."""
    filter: Filter = "hann"
    """Of the backprojection; the one that made the image, where that is known."""
    slices: int = 1
    """Slices that come as channels (2.5-D): the one to be restored, then its neighbours."""
    views_together: int = 1
    """Neighbouring views that the sinogram network sees as channels: so many times cheaper where
    views change slowly, as in the strips of `physics.ct_strips`."""
    sinogram: AttentionNetConfig = AttentionNetConfig(width=24, depth=1)
    """The network on the projections; its channels in and out follow from `slices`."""
    image: AttentionNetConfig = AttentionNetConfig(width=32, depth=3)
    """The network on the image; likewise."""

    def __post_init__(self) -> None:
        check_lowest(self, slices=1, views_together=1)
        if self.geometry.views % self.views_together:
            raise ValueError(
                f"DDANetConfig.views_together {self.views_together} must divide the "
                f"{self.geometry.views} views"
            )

    def build(self) -> "DDANet":
        return DDANet(self)


class DDANet(nn.Module):
    """Takes a mapping of three arrays and returns the restored image `[batch, y, x, 1]`.

    - "image" `[batch, y, x, 2 slices]`: FBP of the raw sinogram, then its noise level maps;
    - "sinogram" `[batch, views, detectors, slices]`: line integrals of the image (above air) in
      its own unit times mm, so that `fbp` of a difference is one of images;
    - "level" `[batch, views, detectors, slices]`: the standard deviation of its noise, positive.

    The sinogram network sees the noise divided by its level, which is then the same at every
    dose and behind every bone, and its answer is multiplied by the level again. Both networks
    start at zero: untrained, the image comes back unchanged.

    Raises:
        ValueError: an array does not fit the geometry or the number of slices.
    """

    config: DDANetConfig = DDANetConfig()

    def __call__(
        self, x: Mapping[str, Float[Array, "batch a b c"]], *, train: bool = False
    ) -> Float[Array, "batch y x 1"]:
        return self.both(x, train=train).image

    @nn.compact
    def both(self, x: Mapping[str, Float[Array, "batch a b c"]], *, train: bool = False) -> Dual:
        """The restored image and the cleaned sinogram that it was made with."""
        config = self.config
        check_shapes(config, x)
        image, level = jnp.split(x["image"], 2, axis=-1)
        together = config.views_together
        out = config.slices * together
        net = AttentionNet(
            replace(config.sinogram, out_channels=out, residual=False), name="sinogram"
        )
        seen = features(config.geometry, x["sinogram"], x["level"])
        seen = gathered(turn_on(config.geometry, seen, _TURN * together), together)
        correction = x["level"] * spread(net(seen, train=train)[:, _TURN:-_TURN], together)
        cleaned = image + fbp(config.geometry, correction, config.filter)
        net = AttentionNet(replace(config.image, out_channels=1, residual=True), name="image")
        restored = net(jnp.concatenate([cleaned, image, level], axis=-1), train=train)
        return Dual(restored, x["sinogram"] + correction)


def features(
    geometry: Geometry,
    sinogram: Float[Array, "batch views detectors slices"],
    level: Float[Array, "batch views detectors slices"],
) -> Float[Array, "batch views detectors 3*slices"]:
    """What the sinogram network sees: detail in units of the noise, values, the noise itself.

    Values and noise are divided by the image's width, which makes them means along a ray.
    """
    reach = _COARSE // 2
    coarse = box_mean(turn_on(geometry, sinogram, reach), _COARSE)[:, reach:-reach]
    width = geometry.image_size * geometry.pixel_mm
    noise = jnp.log(level / (width * _USUAL_NOISE))
    return jnp.concatenate([(sinogram - coarse) / level, sinogram / width, noise], axis=-1)


def turn_on(
    geometry: Geometry, sinogram: Float[Array, "batch views detectors channel"], views: int
) -> Float[Array, "batch views+2n detectors channel"]:
    """The sinogram with so many views appended at both ends, where the scanner turns on.

    A fan is back at its first view after a full turn; parallel rays after half a turn run along
    those of the first view in the other direction, so the detectors are mirrored.
    """
    mirror = (lambda x: x[:, :, ::-1]) if isinstance(geometry, ParallelBeam) else (lambda x: x)
    if views > sinogram.shape[1]:
        raise ValueError(f"{views} views appended to a sinogram of {sinogram.shape[1]}")
    before, after = mirror(sinogram[:, -views:]), mirror(sinogram[:, :views])
    return jnp.concatenate([before, sinogram, after], axis=1)


def gathered(
    sinogram: Float[Array, "batch views detectors channel"], together: int
) -> Float[Array, "batch rows detectors together*channel"]:
    """So many neighbouring views at a time as channels of one row."""
    batch, views, detectors, channels = sinogram.shape
    rows = sinogram.reshape(batch, views // together, together, detectors, channels)
    return jnp.moveaxis(rows, 2, 3).reshape(batch, views // together, detectors, -1)


def spread(
    rows: Float[Array, "batch rows detectors together*channel"], together: int
) -> Float[Array, "batch views detectors channel"]:
    """The inverse of `gathered`."""
    batch, count, detectors, _ = rows.shape
    views = jnp.moveaxis(rows.reshape(batch, count, detectors, together, -1), 3, 2)
    return views.reshape(batch, count * together, detectors, -1)


def check_shapes(config: DDANetConfig, x: Mapping[str, Array]) -> None:
    """Raises ValueError where an array does not fit the geometry or the number of slices."""
    g, slices = config.geometry, config.slices
    rays = (g.views, g.detectors, slices)
    wanted = {"image": (g.image_size,) * 2 + (2 * slices,), "sinogram": rays, "level": rays}
    for name, shape in wanted.items():
        if x[name].shape[1:] != shape:
            raise ValueError(f"DDANet: {name} is {x[name].shape}, expected [batch, {shape}]")
