"""Low-dose CT with projections: what a network may know that sees the sinogram too."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray, PyTree

from medjax.data.augment import augment
from medjax.data.regrid import regrid, square
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.physics.ct import (
    MU_WATER,
    DoseModel,
    Geometry,
    LowDose,
    ParallelBeam,
    blind_ray_noise,
    hu_to_mu,
    project,
    ray_noise,
    simulate_low_dose,
)
from medjax.physics.noise_level import noise_level
from medjax.tasks.base import Case, Record
from medjax.tasks.ldct import AIR, BODY_ABOVE, LowDoseCT

# Of a line integral: below the noise of any scanner, so that nothing is divided by zero.
LEAST_NOISE = 1e-4


@dataclasses.dataclass(frozen=True)
class LowDoseProjections(LowDoseCT):
    """`LowDoseCT` with the sinogram beside the image, for networks that work in both domains.

    Whole slices are brought to the grid of a virtual scanner and scanned there. Where there is
    only an image, as in an ordinary DICOM file, its sinogram is made by projecting it in the
    virtual geometry; so that a network knows such input, a share of each batch in training is
    patches of images with FBP noise (those of `LowDoseCT`), projected.

    Attributes:
      geometry: of the virtual scanner, the network's own; its `image_size` is that of the grid,
        and of patches and tiles. It is scaled to each slice's pixels.
      scanner: photons, electronic noise and bowtie of the scanner of whole slices; `model` and
        `views` are those of the scanner that made the images that patches are cut from.
      projected: share of a training batch that are projected patches.
      dual: networks are given `{"image", "sinogram", "level"}` (see `models.ddanet.DDANet`); else
        the image and its noise level as channels, as under `LowDoseCT`.
      measured: held-out slices come with the projections that their noise was made in; else
        with the image alone, as users have it.
    """

    geometry: Geometry = ParallelBeam.for_image(256, 1.5, views=360)
    scanner: DoseModel = DoseModel()
    projected: float = 0.5
    dual: bool = True
    measured: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.projected <= 1:
            raise UserError(f"task.projected {self.projected}: must be 0 to 1")

    @property
    def title(self) -> str:
        seen = "with projections" if self.dual and self.measured else "images alone"
        return f"Low-dose CT, {self.dose:.0%} dose, held-out slices, {seen}"

    @property
    def note(self) -> str:
        low, high = self.window
        g = self.geometry
        beam = "parallel" if isinstance(g, ParallelBeam) else "fan"
        return (
            f"PSNR and SSIM in the window [{low:g}, {high:g}] HU (data range {high - low:g} HU); "
            f"RMSE over all HU; noise in flat tissue. Slices on {g.image_size} x {g.image_size} "
            f"pixels, {beam} beam, {g.views} views, {self.scanner.photons:g} photons a ray at "
            f"full dose, {self.filter} filter. Filters know the true noise level and are tuned on "
            "the training slices; they see the image alone."
        )

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        grid, pixel = self._grid(record["image"], record)
        whole = {"slice": grid[..., None], "slice_mm": np.asarray(pixel, np.float32)}
        return super().context(record, corner, patch) | whole

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        cut = round(len(raw["image"]) * self.projected)
        patch_key, slice_key = jax.random.split(key)
        pairs = []
        if cut:
            pairs.append(self._patches({k: v[:cut] for k, v in raw.items()}, patch_key))
        if cut < len(raw["image"]):
            pairs.append(self._slices({k: v[cut:] for k, v in raw.items()}, slice_key))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pairs)

    def simulate(self, record: Record, seed: int) -> Case:
        self.check(record)
        grid, pixel = self._grid(record["image"], record)
        scan, level = _scanner(self)(jax.random.key(seed), grid[None, ..., None], pixel)
        degraded, reference = (np.asarray(x)[0, ..., 0] for x in (scan.low, scan.full))
        body = reference > BODY_ABOVE
        noise = float(np.std((degraded - reference)[body if body.any() else ...]))
        given = None
        if self.dual and self.measured:
            rays = {"sinogram": scan.sinogram, "level": level}
            rays = {name: np.asarray(x)[0, ..., 0] for name, x in rays.items()}
            given = {"image": degraded, **rays, "pixel_mm": np.asarray(pixel, np.float32)}
        return Case(record["case"], degraded, reference, noise, (pixel, pixel), given)

    def encode(
        self, degraded: Float[Array, "batch y x 1"] | Mapping[str, Array]
    ) -> PyTree[Float[Array, "batch a b c"]]:
        """What the network is given of an image in HU, projected where it comes alone.

        A mapping has "image", "sinogram" (line integrals), "level" (their standard deviation),
        [batch, views, detectors, 1], and "pixel_mm", [batch].
        """
        return self._encode(degraded)

    def _encode(self, degraded: Float[Array, "batch y x slices"] | Mapping[str, Array]) -> PyTree:
        if not isinstance(degraded, Mapping):
            return self._with_level(degraded) if not self.dual else self._projected(degraded)
        if not self.dual:
            return self._with_level(degraded["image"])
        gain = self._gain(degraded["pixel_mm"])
        return self._given(degraded["image"], degraded["sinogram"] * gain, degraded["level"] * gain)

    def _scanned(
        self, hu: Float[Array, "batch n n slices"], pixel: Array, key: PRNGKeyArray
    ) -> tuple[LowDose, Array]:
        """Varied slices through the virtual scanner at a random dose, with their rays' noise."""
        vary, choose, shake = jax.random.split(key, 3)
        hu = augment(vary, hu, self.augment)
        low, high = np.log(self.train_dose)
        dose = jnp.exp(jax.random.uniform(choose, (len(hu),), minval=low, maxval=high))
        return self._scan(shake, hu, pixel, dose, "gaussian")

    def _slices(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        """Whole slices with the projections that their noise was made in."""
        scan, level = self._scanned(raw["slice"], raw["slice_mm"], key)
        clean = self._scale(scan.full[..., :1])
        if not self.dual:
            return Pair(self._with_level(scan.low), clean)
        gain = self._gain(raw["slice_mm"])
        given = self._given(scan.low, scan.sinogram * gain, level * gain)
        return in_both(given, clean, scan.clean_sinogram * gain)

    def _patches(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        """Patches with the noise of a reconstruction, projected as if they were whole slices."""
        pair = super().prepare(raw, key)
        if not self.dual:
            return pair
        target = self._project(self.decode(pair.clean))
        return in_both(pair.degraded, pair.clean, target)

    def _projected(self, image: Float[Array, "batch y x slices"]) -> dict[str, Array]:
        """An image that comes alone, with the projections that it would have."""
        self._check_size(image)
        rays = self._project(image)
        return self._given(image, rays, blind_ray_noise(rays))

    def _given(self, image: Array, sinogram: Array, level: Array) -> dict[str, Array]:
        """What DDANet takes: the image with its noise level, the rays with theirs."""
        least = LEAST_NOISE * self._gain(self.geometry.pixel_mm)
        return {
            "image": self._with_level(image),
            "sinogram": sinogram,
            "level": jnp.maximum(level, least),
        }

    def _with_level(
        self, image: Float[Array, "batch y x slices"]
    ) -> Float[Array, "batch y x 2*slices"]:
        """Slices in the network's unit, then a map of the noise level of each."""
        scaled = self._scale(image)
        maps = [noise_level(scaled[..., i : i + 1]) for i in range(scaled.shape[-1])]
        return jnp.concatenate([scaled, *maps], axis=-1)

    def _project(self, hu: Float[Array, "batch y x c"]) -> Float[Array, "batch views detectors c"]:
        """Rays through images whose pixels are taken for the geometry's own."""
        return project(self.geometry, hu_to_mu(hu)) * self._gain(self.geometry.pixel_mm)

    def _gain(self, pixel_mm: Array | float) -> Array:
        """From line integrals to those of the encoded image in the network's geometry."""
        low, high = self.window
        mm = jnp.asarray(pixel_mm, jnp.float32).reshape(-1, 1, 1, 1)
        return (1000 / MU_WATER / (high - low) * self.geometry.pixel_mm) / mm

    def _scan(
        self,
        key: PRNGKeyArray,
        hu: Float[Array, "batch n n c"],
        pixel: Array,
        dose: Array | float,
        sampler: Literal["poisson", "gaussian"],
    ) -> tuple[LowDose, Float[Array, "batch views detectors c"]]:
        """The virtual scan of whole slices, and the noise level of its rays."""
        whole = self.whole(hu.shape[1])
        scan = simulate_low_dose(
            key,
            hu,
            whole,
            dose,
            self.scanner,
            self.filter,
            pixel_mm=pixel,
            sampler=sampler,
        )
        stretch = jnp.asarray(pixel, jnp.float32).reshape(-1, 1, 1, 1) / whole.pixel_mm
        offset = jnp.asarray(whole.ray_offsets_mm()[:, np.newaxis], jnp.float32) * stretch
        return scan, ray_noise(scan.sinogram, dose, self.scanner, offset)

    def whole(self, size: int) -> Geometry:
        """Where the rays of whole slices of `size` pixels a side run."""
        return self.geometry

    def _grid(
        self, image: Float32[np.ndarray, "*lead y x"], record: Record
    ) -> tuple[Float32[np.ndarray, "*lead n n"], float]:
        """Whole slices on the scanner's grid, and the millimetres of its pixels."""
        whole, size = square(image, AIR), self.geometry.image_size
        return regrid(whole, size), float(record["spacing"][-1]) * whole.shape[-1] / size

    def _check_size(self, image: Array) -> None:
        size = self.geometry.image_size
        if image.shape[-3:-1] != (size, size):
            found = " x ".join(map(str, image.shape[-3:-1]))
            raise UserError(
                f"the virtual scanner takes images of {size} x {size}, not {found}: set "
                f"data.patch and tiling.size to {size}, or task.geometry and network.geometry"
            )


def in_both(given: Any, image: Array, sinogram: Array) -> Pair:
    """The training pair of a network that restores in both domains."""
    clean: Any = {"image": image, "sinogram": sinogram}
    return Pair(given, clean)


@functools.lru_cache
def _scanner(task: LowDoseProjections) -> Any:
    def scan(key: PRNGKeyArray, hu: Array, pixel_mm: Array) -> tuple[LowDose, Array]:
        return task._scan(key, hu, pixel_mm, task.dose, "poisson")

    return jax.jit(scan)
