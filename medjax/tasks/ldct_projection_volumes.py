"""Low-dose CT with projections in volumes: a slice is restored with its neighbours beside it."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.tasks.base import Case, Record
from medjax.tasks.ldct_projections import LowDoseProjections, in_both


@dataclasses.dataclass(frozen=True)
class LowDoseProjectionVolumes(LowDoseProjections):
    """`LowDoseProjections` of volumes [z, y, x], in 2.5-D: neighbouring slices come as channels.

    The slice to be restored is the first channel, its neighbours follow from the lowest to the
    highest; at the ends of a volume the last slice stands for those that are missing. Training
    patches are `(slices, n, n)` for a geometry of n pixels. The projected share of a batch are
    whole slices too, reconstructed and projected again.

    Attributes:
      slices: channels of slices, an odd number; `slices` of `models.ddanet.DDANetConfig`.
    """

    slices: int = 3

    dims: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slices < 1 or self.slices % 2 == 0:
            raise UserError(f"task.slices {self.slices}: must be odd and positive")

    @property
    def network_dims(self) -> int:
        return 2

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        size = self.geometry.image_size
        if patch != (self.slices, size, size):
            raise UserError(
                f"data.patch {' '.join(map(str, patch))}: must be {self.slices} {size} {size}, "
                "task.slices and the size of task.geometry"
            )
        return (0, 0, 0)

    @property
    def survey(self) -> None:
        return None

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        image = record["image"]
        wanted = np.clip(np.arange(corner[0], corner[0] + self.slices), 0, len(image) - 1)
        grid, pixel = self._grid(image[wanted], record)
        ordered = np.moveaxis(grid[list(self._order())], 0, -1)
        return {"slice": ordered, "slice_mm": np.asarray(pixel, np.float32)}

    def simulate(self, record: Record, seed: int) -> Case:
        cases = []
        for number, image in enumerate(record["image"]):
            # Other noise in every slice, and in the same slice of another seed.
            alone = {**record, "image": image, "spacing": record["spacing"][1:]}
            cases.append(super().simulate(alone, seed * len(record["image"]) + number))
        degraded, reference = (
            np.stack([getattr(case, name) for case in cases]) for name in ("degraded", "reference")
        )
        inputs = [case.network_input for case in cases]
        given = None
        if isinstance(inputs[0], Mapping):
            names = ("image", "sinogram", "level")
            given = {name: np.stack([x[name] for x in inputs]) for name in names}
            given["pixel_mm"] = inputs[0]["pixel_mm"]
        noise = float(np.sqrt(np.mean([case.noise_std**2 for case in cases])))
        spacing = (float(record["spacing"][0]), *cases[0].spacing)
        return Case(record["case"], degraded, reference, noise, spacing, given)

    def encode(
        self, degraded: Float[Array, "batch z y x 1"] | Mapping[str, Array]
    ) -> PyTree[Float[Array, "batch*z a b c"]]:
        """As of `LowDoseProjections`, every slice with its neighbours, all joined to the batch."""
        if not isinstance(degraded, Mapping):
            return self._encode(self._neighbours(degraded))
        slices = degraded["image"].shape[1]
        stacks = {k: self._neighbours(v) for k, v in degraded.items() if k != "pixel_mm"}
        return self._encode({**stacks, "pixel_mm": jnp.repeat(degraded["pixel_mm"], slices)})

    def judge(self, case: Case, restored: np.ndarray) -> dict[str, float]:
        """Means over the slices."""
        values = []
        for index in range(len(restored)):
            slice_ = dataclasses.replace(
                case,
                degraded=case.degraded[index],
                reference=case.reference[index],
                spacing=case.spacing and case.spacing[1:],
            )
            values.append(super().judge(slice_, restored[index]))
        return {key: float(np.mean([v[key] for v in values])) for key in values[0]}

    def _patches(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        """Whole slices as they come without their projections."""
        scan, _ = self._scanned(raw["slice"], raw["slice_mm"], key)
        clean = self._scale(scan.full[..., :1])
        if not self.dual:
            return Pair(self._with_level(scan.low), clean)
        return in_both(self._projected(scan.low), clean, self._project(scan.full))

    def _order(self) -> tuple[int, ...]:
        """Of the slices from the lowest to the highest: the middle, then the others."""
        middle = self.slices // 2
        return (middle, *(i for i in range(self.slices) if i != middle))

    def _neighbours(self, x: Float[Array, "batch z a b 1"]) -> Float[Array, "batch*z a b slices"]:
        reach, count = self.slices // 2, x.shape[1]
        wide = jnp.pad(x[..., 0], ((0, 0), (reach, reach), (0, 0), (0, 0)), mode="edge")
        stack = [jax.lax.slice_in_dim(wide, i, i + count, axis=1) for i in self._order()]
        return jnp.stack(stack, axis=-1).reshape(-1, *x.shape[2:4], self.slices)
