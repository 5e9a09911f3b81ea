"""Low-dose CT with projections, region by region: patches with the strips of rays through them."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.data.augment import augment
from medjax.data.memory import ArrayCache
from medjax.data.regrid import square
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.physics.ct import (
    MU_WATER,
    ParallelBeam,
    fbp,
    fill_padding,
    hu_to_mu,
    low_dose,
    mu_to_hu,
    project,
    ray_noise,
)
from medjax.physics.ct_strips import (
    mirrored,
    nearest,
    region_of,
    spectra,
    strip_offsets,
    strips,
)
from medjax.tasks.base import Cutter, Record
from medjax.tasks.ldct import AIR
from medjax.tasks.ldct_projections import LowDoseProjections, in_both
from medjax.tasks.patches import cut
from medjax.tasks.ranges import log_uniform

# Varied slices kept for training, with their projections: 150 of 512 x 512 with 720 views.
CACHE_BYTES = 1024**3
# Of a ray's noise: how far the image's noise, interpolated from the scanner's own detectors, is
# from the backprojection of strips whose detectors lie between them (2.2 of 13.6 HU at 512²).
APART = 0.16


@dataclasses.dataclass(frozen=True)
class LowDoseRegions(LowDoseProjections):
    """`LowDoseProjections` at full resolution on patches, each with the strips through it.

    The scanner of whole slices has the slice's own pixels, and as many views as `geometry`; a
    network is given regions of the slice and the strips of `physics.ct_strips`, in training and,
    tile by tile, when it restores. In training slices are varied as a whole, `draws` times, since
    rays run through all of them, and mirror images, brightness, dose and noise are fresh at every
    step. An image that comes alone is projected tile by tile.

    Attributes:
      geometry: of a region's strips, from `physics.ct_strips.region_of`; its `image_size` is that
        of patches and tiles.
      draws: variations of each training slice, the slice itself among them.
      noises: noise draws of each region in a batch, side by side; all else is the same in them.
    """

    geometry: ParallelBeam = region_of(ParallelBeam.for_image(512, 0.7, views=720), 64)
    draws: int = 8
    noises: int = 1

    mirrors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.geometry, ParallelBeam):
            raise UserError("task.geometry: regions take a parallel beam (physics.ct_strips)")
        for name in ("draws", "noises"):
            if getattr(self, name) < 1:
                raise UserError(f"task.{name} {getattr(self, name)}: must be at least 1")

    @property
    def paired(self) -> bool:
        return self.noises == 2

    @property
    def note(self) -> str:
        low, high = self.window
        return (
            f"PSNR and SSIM in the window [{low:g}, {high:g}] HU (data range {high - low:g} HU); "
            f"RMSE over all HU; noise in flat tissue. Parallel beam, {self.geometry.views} views, "
            f"{self.scanner.photons:g} photons a ray at full dose, {self.filter} filter. Filters "
            "know the true noise level and are tuned on the training slices; they see the image "
            "alone."
        )

    def whole(self, size: int) -> ParallelBeam:
        return ParallelBeam.for_image(size, self.geometry.pixel_mm, self.geometry.views)

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        if set(patch) != {self.geometry.image_size}:
            raise UserError(
                f"data.patch {' '.join(map(str, patch))}: must be {self.geometry.image_size}, the "
                "size of task.geometry's regions"
            )
        return (0, 0)

    @property
    def survey(self) -> None:
        return None

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        # The corner decides which variation a patch is of, so neighbours are of different ones.
        number = zlib.crc32(f"{record['case']} {corner}".encode()) % self.draws
        which = (record["case"], record["index"], number)
        size, mm = max(record["image"].shape), float(record["spacing"][0])
        whole = self.whole(size)
        rays = self._kept.get((which, "rays"), lambda: self._varied(record, number))
        image = self._kept.get((which, "image"), lambda: self._reconstructed(rays, size, mm))
        waves = self._kept.get((which, "spectra"), lambda: spectra(whole, self.geometry, rays))
        pads = [(size - n) // 2 for n in record["image"].shape]
        inside = tuple(c + p for c, p in zip(corner, pads, strict=True))
        centre = _centre(inside, patch[0], size)
        return {
            "reference": cut(image, inside, patch)[..., None],
            "rays": strips(whole, self.geometry, waves, centre)[..., None],
            "offsets": strip_offsets(whole, self.geometry, centre)[..., None],
        }

    def cutter(self, given: Mapping[str, np.ndarray], size: tuple[int, ...]) -> Cutter:
        count = len(given["image"])
        whole = self.whole(count)
        waves = spectra(whole, self.geometry, given["sinogram"])

        def tile_of(corner: tuple[int, ...], tile: np.ndarray) -> dict[str, np.ndarray]:
            centre = _centre(corner, size[0], count)
            level = nearest(whole, self.geometry, given["level"], centre)
            return {
                "image": tile,
                "sinogram": strips(whole, self.geometry, waves, centre)[..., None],
                "level": level[..., None],
                "pixel_mm": given["pixel_mm"],
            }

        return tile_of

    def mirror(self, given: Mapping[str, Array], axis: int) -> dict[str, Array]:
        rays = {name: mirrored(given[name], axis) for name in ("sinogram", "level")}
        return {**given, **rays, "image": jnp.flip(given["image"], axis + 1)}

    def _slices(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        region = self._scanned_regions(raw, key)
        clean = self._scale(region.clean)
        if not self.dual:
            return Pair(self._with_level(region.low), clean)
        gain = self._gain(region.pixel_mm)
        given = self._given(region.low, region.noisy * gain, region.level * gain)
        return in_both(given, clean, region.rays * gain)

    def _patches(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        region = self._scanned_regions(raw, key)
        clean = self._scale(region.clean)
        if not self.dual:
            return Pair(self._with_level(region.low), clean)
        return in_both(self._projected(region.low), clean, self._project(region.clean))

    def _scanned_regions(self, raw: dict[str, Array], key: PRNGKeyArray) -> "_Regions":
        """Regions at a random brightness and dose, mirrored at random, in HU, `noises` of each."""
        gain_key, dose_key, noise_key, apart_key, flip_key = jax.random.split(key, 5)
        shape, (darkest, brightest) = (len(raw["reference"]), 1, 1, 1), self.augment.gain
        gain = jax.random.uniform(gain_key, shape, minval=darkest, maxval=brightest)
        dose = log_uniform(dose_key, self.train_dose, shape[:1])
        flips = jax.random.bernoulli(flip_key, shape=(2, *shape))
        if self.noises > 1:
            repeated = functools.partial(jnp.repeat, repeats=self.noises, axis=0)
            raw, gain, dose = jax.tree.map(repeated, (dict(raw), gain, dose))
            flips = jnp.repeat(flips, self.noises, axis=1)
        pixel = raw["spacing"][:, 0]
        clean, rays = gain * (raw["reference"] - AIR) + AIR, gain * raw["rays"]
        offset_mm = raw["offsets"] * pixel.reshape(-1, 1, 1, 1)
        noisy = low_dose(noise_key, rays, dose, self.scanner, offset_mm, "gaussian")
        level = ray_noise(noisy, dose, self.scanner, offset_mm)
        noise = noisy - rays + APART * level * jax.random.normal(apart_key, level.shape)
        attenuation = fbp(self.geometry, noise, self.filter, pixel_mm=pixel)
        low = clean + (1000 / MU_WATER) * attenuation
        for axis, flip in enumerate(flips):
            low, clean = (jnp.where(flip, jnp.flip(x, axis + 1), x) for x in (low, clean))
            noisy, rays, level = (
                jnp.where(flip, mirrored(x, axis), x) for x in (noisy, rays, level)
            )
        return _Regions(low, clean, noisy, rays, level, pixel)

    def _grid(
        self, image: Float32[np.ndarray, "*lead y x"], record: Record
    ) -> tuple[Float32[np.ndarray, "*lead n n"], float]:
        return square(image, AIR), float(record["spacing"][-1])

    @functools.cached_property
    def _kept(self) -> ArrayCache:
        return ArrayCache(CACHE_BYTES)

    def _varied(self, record: Record, number: int) -> Float32[np.ndarray, "views detectors"]:
        """The rays through a training slice, for numbers above 0 turned and deformed."""
        grid, pixel = self._grid(record["image"], record)
        # Readers may run in the training loop's thread, which forbids hidden transfers.
        with jax.transfer_guard("allow"):
            key = jax.random.key(0)
            for part in (zlib.crc32(record["case"].encode()), int(record["index"]), number):
                key = jax.random.fold_in(key, np.uint32(part))
            vary = _variation(self, len(grid), number > 0)
            return np.array(vary(key, grid[None, ..., None], pixel))[0, ..., 0]

    def _reconstructed(
        self, rays: Float32[np.ndarray, "views detectors"], size: int, pixel_mm: float
    ) -> Float32[np.ndarray, "y x"]:
        with jax.transfer_guard("allow"):
            return np.array(_reconstruction(self, size)(rays[None, ..., None], pixel_mm))[0, ..., 0]


class _Regions(NamedTuple):
    """Regions in HU and the line integrals through them, without and with noise."""

    low: Float[Array, "batch y x 1"]
    clean: Float[Array, "batch y x 1"]
    noisy: Float[Array, "batch views detectors 1"]
    rays: Float[Array, "batch views detectors 1"]
    level: Float[Array, "batch views detectors 1"]
    pixel_mm: Float[Array, " batch"]


def _centre(corner: Sequence[int], side: int, size: int) -> tuple[float, float]:
    """Row and column of a region's centre, from the centre of a slice of `size` pixels a side."""
    row, column = (c + (side - size) / 2 for c in corner)
    return row, column


@functools.lru_cache(maxsize=8)
def _variation(task: LowDoseRegions, size: int, varied: bool) -> Any:
    geometry = task.whole(size)
    # Brightness is fresh at every step; a slice is deformed on the scale of the whole.
    shapes = dataclasses.replace(
        task.augment, warp_probability=1.0, gain=(1.0, 1.0), offset=(0.0, 0.0)
    )

    def rays(key: PRNGKeyArray, hu: Array, pixel_mm: Array) -> Array:
        hu = augment(key, hu, shapes) if varied else hu
        return project(geometry, hu_to_mu(fill_padding(hu)), pixel_mm)

    return jax.jit(rays)


@functools.lru_cache(maxsize=8)
def _reconstruction(task: LowDoseRegions, size: int) -> Any:
    def image(rays: Array, pixel_mm: Array) -> Array:
        return mu_to_hu(fbp(task.whole(size), rays, task.filter, pixel_mm=pixel_mm))

    return jax.jit(image)
