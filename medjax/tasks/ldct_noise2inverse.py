"""Low-dose CT from the noisy projections alone: Noise2Inverse (Hendriksen, Pelt, Batenburg 2020).

arXiv:2001.11801. The views are split in two; the reconstruction of one half is the input, that of
the other the target. Photon noise is independent from view to view, so the two images' noise is
independent, whatever its correlation within an image, and the squared error against the second
trains as clean targets would. Nothing about the noise need be known. What is not independent:
scatter, drift of the tube, beam hardening and the streaks of too few views, which repeat.

It needs measured projections. An image projected again has none: see `ldct_self_supervised`.
"""

import dataclasses
import functools
import zlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from medjax.data.augment import augment
from medjax.data.memory import ArrayCache
from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.physics.ct import (
    Filter,
    Geometry,
    ParallelBeam,
    fbp,
    mu_to_hu,
    simulate_low_dose,
)
from medjax.tasks.base import Record
from medjax.tasks.ldct import AIR, LowDoseCT, pixel_size_mm
from medjax.tasks.patches import cut

CACHE_BYTES = 2**30
# Of the virtual scan, so that training and held-out noise differ.
SEED = 1


@dataclasses.dataclass(frozen=True)
class Noise2InverseCT(LowDoseCT):
    """Learn to take the noise out of reconstructions, from noisy projections; train with loss L2.

    Every training slice is scanned once by the virtual scanner, at `dose` with `views`, `filter`
    and `model`; training sees that scan's even and odd views, each reconstructed, in either order,
    and nothing of the clean slice. Held-out slices are scanned with all views, whose noise is
    1/√2 of a half's, which the network is told with its input, and judged against the truth.

    Patches are mirrored and changed in intensity; rotation and deformation would interpolate the
    noise and are left out. `train_dose` says nothing here.
    """

    # Halves have more noise than the scans that are restored.
    denoises: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views % 2:
            raise UserError(f"task.views {self.views}: must be even, to be split in two")

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        super().margin(patch)
        return (0,) * len(patch)

    @property
    def survey(self) -> None:
        return None

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        name = (record["case"], int(record.get("index", 0)))
        halves = self._kept.get(name, lambda: self.halves(record))
        return {"halves": np.stack([cut(half, corner, patch) for half in halves], axis=-1)}

    def halves(self, record: Record) -> Float[np.ndarray, "2 y x"]:
        """The record's only scan, reconstructed from its even and from its odd views, HU."""
        image, pixel = record["image"], pixel_size_mm(record)
        square = max(image.shape)
        pads = [((square - n) // 2, square - n - (square - n) // 2) for n in image.shape]
        wide = np.pad(image, pads, constant_values=AIR)
        seed = zlib.crc32(f"{record['case']} {record.get('index', 0)} {SEED}".encode()) >> 1
        # Readers may run in the training loop's thread, which forbids hidden transfers.
        with jax.transfer_guard("allow"):
            two = _scanner(self, square)(jax.random.key(seed), wide[None, ..., None], pixel)
            both = np.moveaxis(np.asarray(two)[0], -1, 0)
        return both[:, *(slice(b, b + n) for (b, _), n in zip(pads, image.shape, strict=True))]

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        vary, swap = jax.random.split(key)
        still = dataclasses.replace(self.augment, warp_probability=0.0, elastic_alpha=0.0)
        halves = augment(vary, raw["halves"], still)
        turned = jax.random.bernoulli(swap, shape=(len(halves), 1, 1, 1))
        halves = jnp.where(turned, halves[..., ::-1], halves)
        return Pair(self.encode(halves[..., :1]), self._scale(halves[..., 1:]))

    @functools.cached_property
    def _kept(self) -> ArrayCache:
        return ArrayCache(CACHE_BYTES)


def split_fbp(
    geometry: Geometry,
    sinogram: Float[Array, "batch views detectors 1"],
    filter: Filter,
    pixel_mm: Float[Array, "batch"] | float | None = None,
) -> Float[Array, "batch n n 2"]:
    """Attenuation in 1/mm from the even views, and from the odd ones."""
    even = jnp.asarray(np.arange(geometry.views) % 2 == 0)[:, None, None]
    # Views that are left out count 0, and those left twice.
    halves = jnp.concatenate(
        [jnp.where(even, 2 * sinogram, 0), jnp.where(even, 0, 2 * sinogram)], -1
    )
    return fbp(geometry, halves, filter, pixel_mm=pixel_mm)


@functools.lru_cache
def _scanner(task: Noise2InverseCT, size: int) -> Any:
    geometry = ParallelBeam.for_image(size, 1.0, task.views)

    def scan(key: PRNGKeyArray, hu: Array, pixel_mm: Array) -> Array:
        scan = simulate_low_dose(
            key, hu, geometry, task.dose, task.model, task.filter, pixel_mm=pixel_mm
        )
        return mu_to_hu(split_fbp(geometry, scan.sinogram, task.filter, pixel_mm))

    return jax.jit(scan)
