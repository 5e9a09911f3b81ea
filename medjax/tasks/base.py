"""Task: what went wrong with a scan, how a network sees it, how a restoration is judged."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.metrics.column import Column

Record = Mapping[str, Any]
Cutter = Callable[[tuple[int, ...], Float32[np.ndarray, "*tile 1"]], Mapping[str, np.ndarray]]
"""`cutter(corner, tile) -> given`: a tile of a scan with what belongs to it, for the network."""


def each_axis(numbers: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One number for each axis: those given, or the one given for all.

    Raises:
      UserError: neither one number nor one an axis.
    """
    if isinstance(numbers, int):
        return (numbers,) * axes
    if len(numbers) != axes:
        said = " ".join(map(str, numbers))
        raise UserError(f"patch or tile {said}: give one number, or one for each of {axes} axes")
    return tuple(numbers)


@dataclasses.dataclass(frozen=True)
class Case:
    """One held-out scan with what is compared on it, all in physical units.

    Attributes:
      name: the record's case id, free of patient data.
      degraded: what a method is given, [*space].
      reference: what it should give back, [*space].
      noise_std: standard deviation of degraded - reference over the scanned body: the "true
        sigma" that classical filters ask for.
      spacing: millimetres an axis, of the time axis of a series seconds; or None.
      given: what networks are given in place of `degraded` where there is more to give, such as
        the projections of a CT slice: arrays without batch and channel, "image" being `degraded`;
        or one of `corrections`.
      corrections: rows of their own, what physics alone makes of the scanner's raw data: by the
        row's name a function that computes it when first asked for, and keeps it.
    """

    name: str
    degraded: Float32[np.ndarray, "*space"]
    reference: Float32[np.ndarray, "*space"]
    noise_std: float
    spacing: tuple[float, ...] | None
    given: Mapping[str, np.ndarray] | Callable[[], Float32[np.ndarray, "*space"]] | None = None
    corrections: Mapping[str, Callable[[], Float32[np.ndarray, "*space"]]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def network_input(self) -> Float32[np.ndarray, "*space"] | Mapping[str, np.ndarray]:
        """What `trained.Trained.restore` is to be given."""
        if callable(self.given):
            return self.given()
        return self.degraded if self.given is None else self.given


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of all tasks; a subclass is a frozen dataclass of the task's settings.

    `prepare`, `encode` and `decode` are traced by JAX; the others run on the host.

    Attributes:
      dims: axes of a record: 2 [y, x], 3 [z, y, x] or 4 [t, z, y, x].
      unit: of the values of scans, e.g. "HU"; "" for arbitrary intensities.
      background: value of what lies outside a scan.
      degraded_name: the row of the untouched input in tables.
      reference_name: the row of the reference.
      columns: of the table of results.
      filters: names in `medjax.baselines.filters.FILTERS` of what people use today.
      colour_channel: of colour images, the one that is restored (red is 0); None takes none.
      mirrors: whether what comes with an image can be mirrored with it.
      interpolable: whether scans may be interpolated before they are restored; not where single
        values have a meaning.
      denoises: whether noise is what is undone and training shows as much of it as scans have, so
        that those of less or more are unlike them.
    """

    dims: ClassVar[int]
    unit: ClassVar[str]
    background: ClassVar[float]
    degraded_name: ClassVar[str]
    reference_name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    filters: ClassVar[tuple[str, ...]]
    colour_channel: ClassVar[int | None] = None
    interpolable: ClassVar[bool] = True
    mirrors: ClassVar[bool] = False
    denoises: ClassVar[bool] = False

    @property
    def network_dims(self) -> int:
        """Axes of space that the network sees at once; those before them join the batch."""
        return self.dims

    @property
    def paired(self) -> bool:
        """Whether neighbours in a batch are two noise draws of one patch; see `losses.bias`."""
        return False

    @property
    def title(self) -> str:
        """What the table of results is headed with."""
        raise NotImplementedError

    @property
    def note(self) -> str:
        """What a reader needs to read the numbers right: data range, window, dose."""
        raise NotImplementedError

    @property
    def display(self) -> tuple[float, float]:
        """The values shown as black and white in pictures, and the range PSNR refers to."""
        raise NotImplementedError

    def check(self, record: Record) -> None:
        """Raises UserError where a record's unit or spacing does not serve the task."""
        raise NotImplementedError

    def margin(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        """Samples that `prepare` needs on each side of a patch, along each axis, and cuts off."""
        return (0,) * len(patch)

    @property
    def survey(self) -> Callable[[Record], np.ndarray] | None:
        """What `context` needs of a scan whatever the patch: computed once, `record["survey"]`.

        None: nothing. A record that comes without is surveyed by `context` itself.
        """
        return None

    def context(
        self, record: Record, corner: tuple[int, ...], patch: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        """What `prepare` must know of the whole scan that the patch at `corner` cannot tell.

        The patch includes its margins. Must be the same every time for the same arguments.
        """
        return {}

    def context_like(self, patch: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of what `context` gives, without a dataset: found on a made-up scan.

        Tasks whose context takes long to compute override this.
        """
        axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in patch)]
        inside = sum(np.square(axis, dtype=np.float32) for axis in axes) < 0.5
        record = {
            "image": np.where(inside, np.float32(100), np.float32(self.background)),
            "spacing": np.ones(len(patch), np.float32),
            **{name: "made up" for name in ("case", "subject", "modality")},
            "unit": self.unit,
            "index": 0,
        }
        given = self.context(record, (0,) * len(patch), patch)
        return {
            name: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype)
            for name, value in given.items()
        }

    def normalise(
        self, scan: Float32[np.ndarray, "*space"]
    ) -> tuple[
        Float32[np.ndarray, "*space"],
        Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]],
    ]:
        """A whole scan in the values that `encode` takes, and what turns a restoration back.

        For scans whose unit does not fix the scale of their values; here both are the identity.
        The latter is affine in every sample, but for what it cuts off.
        """
        return scan, lambda restored: restored

    def prepare(self, raw: dict[str, Array], key: PRNGKeyArray) -> Pair:
        """Augments and degrades a batch of clean patches: the training pair, encoded."""
        raise NotImplementedError

    def simulate(self, record: Record, seed: int) -> Case:
        """Degrades a whole held-out scan for evaluation, the same for the same seed."""
        raise NotImplementedError

    def encode(
        self, degraded: Float[Array, "batch *space 1"]
    ) -> Float[Array, "batch *space channel"]:
        """Physical values to the network's input, conditioning channels appended.

        A task whose cases have a `given` takes such a mapping too, batched, and may return one.
        """
        raise NotImplementedError

    def cutter(self, given: Mapping[str, np.ndarray], size: tuple[int, ...]) -> Cutter | None:
        """How a `Case.given` is cut into tiles of this size; None: it is restored in one piece.

        What is cut goes to `encode`, batched.
        """
        return None

    def mirror(self, given: Mapping[str, Array], axis: int) -> Mapping[str, Array]:
        """What `encode` takes, batched, of the mirror image along rows (0) or columns (1).

        Traced by JAX. Of tasks whose `mirrors` is True; of others such input is restored once.
        """
        raise NotImplementedError

    def decode(self, restored: Float[Array, "batch *space 1"]) -> Float[Array, "batch *space 1"]:
        """The network's output back to physical values."""
        raise NotImplementedError

    def judge(self, case: Case, restored: Float32[np.ndarray, "*space"]) -> dict[str, float]:
        """One value for each of `columns`."""
        raise NotImplementedError
