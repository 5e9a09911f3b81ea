"""Restoring scans of any size in overlapping tiles, and every method on the same held-out cases."""

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from medjax.baselines.filters import Baseline, tune
from medjax.errors import UserError
from medjax.metrics.column import Kind
from medjax.tasks.base import Case, Cutter, Record, Task, each_axis

_log = logging.getLogger(__name__)
# Of a training case, for tuning filters: enough to choose a parameter, in seconds.
TUNING_SIDE = 192


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a large scan is cut for the network.

    Attributes:
      size: samples of a tile along each axis of a scan; one number counts for all axes.
      overlap: samples that neighbouring tiles share along each axis, or one number; they are
        blended linearly there.
      batch: tiles restored at once.
      ensemble: restores each tile in all its mirror images too, upright and turned, and averages
        (Lim et al., "Enhanced deep residual networks", CVPRW 2017): better, and 8 times the work
        in 2-D.
    """

    size: int | tuple[int, ...] = 256
    overlap: int | tuple[int, ...] = 32
    batch: int = 4
    ensemble: bool = False

    def __post_init__(self) -> None:
        axes = max(len(n) for n in (self.size, self.overlap, (0,)) if isinstance(n, tuple))
        for size, shared in zip(
            each_axis(self.size, axes), each_axis(self.overlap, axes), strict=True
        ):
            # A tile of one sample has no neighbours to blend with.
            if size > 1 and not 0 <= 2 * shared <= size:
                raise UserError(f"tiling.overlap {shared}: must be 0 to half of the tile's {size}")


def starts(length: int, size: int, overlap: int) -> list[int]:
    """First indices of the tiles that cover `length` samples; the last one ends at its end."""
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def ramp(size: int, overlap: int) -> Float32[np.ndarray, " size"]:
    """Blending weight along one axis of a tile: rises over the overlap, never 0."""
    rise = (np.arange(size, dtype=np.float32) + 1) / (overlap + 1)
    return np.minimum(1, np.minimum(rise, rise[::-1]))


def ensemble(
    restore: Callable[[Float[Array, "batch *space 1"]], Float[Array, "batch *space 1"]],
    tiles: Float[Array, "batch *space 1"],
) -> Float[Array, "batch *space 1"]:
    """The mean of the restorations of the tiles' mirror images, upright and turned, put back.

    Traceable. The last two axes of space must be equally long, to be exchanged.
    """
    dims = tiles.ndim - 2
    flips = [
        tuple(axis + 1 for axis in range(dims) if mirrored[axis])
        for mirrored in itertools.product((False, True), repeat=dims)
    ]
    turned = [tiles, jnp.swapaxes(tiles, -3, -2)]
    shown = jnp.stack([jnp.flip(tile, axes) for tile in turned for axes in flips])
    restored = jax.lax.map(restore, shown).reshape(2, len(flips), *tiles.shape)
    back = [
        sum(jnp.flip(restored[turn, i], axes) for i, axes in enumerate(flips)) for turn in (0, 1)
    ]
    return (back[0] + jnp.swapaxes(back[1], -3, -2)) / (2 * len(flips))


def mirror_ensemble(
    restore: Callable[[Any], Float[Array, "batch y x 1"]],
    given: Any,
    mirror: Callable[[Any, int], Any],
) -> Float[Array, "batch y x 1"]:
    """The same over the four mirror images of what is more than an image; traceable.

    `mirror(given, axis)` is that mirrored along rows (0) or columns (1).
    """
    upside = mirror(given, 0)
    shown = [given, upside, mirror(given, 1), mirror(upside, 1)]
    restored = jax.lax.map(restore, jax.tree.map(lambda *leaves: jnp.stack(leaves), *shown))
    back = zip(restored, ((), (1,), (2,), (1, 2)), strict=True)
    return sum((jnp.flip(x, axes) for x, axes in back), start=jnp.zeros_like(restored[0])) / 4


def restore_tiled(
    restore: Callable[[Any], Array],
    image: Float32[np.ndarray, "*space"],
    tiling: Tiling,
    more: Cutter | None = None,
) -> Float32[np.ndarray, "*space"]:
    """Restores an image of any size with a function that takes batches of tiles of one shape.

    Axes shorter than a tile are mirrored up to the tile's size, so `restore` compiles once.

    Args:
      restore: batches of tiles, or of what `more` makes of them, to batches of tiles.
      image: of any size.
      tiling: how it is cut.
      more: what else there is of a tile; see `tasks.base.Task.cutter`.
    """
    size = each_axis(tiling.size, image.ndim)
    shared = each_axis(tiling.overlap, image.ndim)
    overlap = [min(o, n - 1) for n, o in zip(size, shared, strict=True)]
    padded = image
    for axis, (n, whole) in enumerate(zip(size, image.shape, strict=True)):
        pad = [(0, max(0, n - whole)) if i == axis else (0, 0) for i in range(image.ndim)]
        padded = np.pad(padded, pad, mode="reflect" if whole > 1 else "edge")
    corners = list(itertools.product(*map(starts, padded.shape, size, overlap)))
    weight = np.ones((), np.float32)
    for n, shared in zip(size, overlap, strict=True):
        weight = weight[..., None] * ramp(n, shared)
    total = np.zeros(padded.shape, np.float32)
    weights = np.zeros(padded.shape, np.float32)
    for first in range(0, len(corners), tiling.batch):
        group = corners[first : first + tiling.batch]
        places = [
            tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True)) for corner in group
        ]
        tiles = [padded[place][..., None] for place in places]
        if more is not None:
            tiles = [more(corner, tile) for corner, tile in zip(group, tiles, strict=True)]
        tiles += tiles[-1:] * (tiling.batch - len(group))
        given = jax.tree.map(lambda *leaves: np.stack(leaves), *tiles)
        out = np.asarray(jax.device_get(restore(given)))[..., 0]
        for place, tile in zip(places, out, strict=False):
            total[place] += tile * weight
            weights[place] += weight
    return (total / weights)[tuple(slice(0, n) for n in image.shape)]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of a comparison: `run(degraded, noise_std) -> restored`, in physical units.

    Networks get a case's `network_input`, which may be more than the degraded scan.
    """

    name: str
    kind: Kind
    run: Callable[[Any, float], Float32[np.ndarray, "*space"]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """One case through every contender: images and values by the contender's name."""

    case: Case
    images: Mapping[str, Float32[np.ndarray, "*space"]]
    values: Mapping[str, Mapping[str, float]]


def tuned(
    filters: Sequence[Baseline], task: Task, records: Sequence[Record], seed: int
) -> tuple[Baseline, ...]:
    """The filters with the parameters that serve best on the middle of the training scans.

    They are given the true noise level, there and on the held-out scans: the most that a user
    could know.
    """
    cases = [task.simulate(record, seed) for record in records]
    pairs = [(_middle(case.degraded), _middle(case.reference)) for case in cases]
    low, high = task.display
    sigmas = [case.noise_std for case in cases]
    return tuple(
        tune(f, pairs, high - low, sigmas=sigmas, window=task.display) if f.grid else f
        for f in filters
    )


def _middle(image: Float32[np.ndarray, "*space"]) -> Float32[np.ndarray, "*space"]:
    return image[
        tuple(slice(max(0, (n - TUNING_SIDE) // 2), (n + TUNING_SIDE) // 2) for n in image.shape)
    ]


def contenders(
    task: Task,
    filters: Sequence[Baseline],
    network: tuple[str, Callable[[Any], Float32[np.ndarray, "*space"]]],
) -> tuple[Contender, ...]:
    """The untouched input, the classical filters, the network: the rows of the table."""
    name, restore = network
    return (
        Contender(task.degraded_name, "degraded", lambda image, _: image),
        *(Contender(f.name, "classical", f.run) for f in filters),
        Contender(name, "network", lambda image, _: restore(image)),
    )


def judge(
    task: Task, records: Sequence[Record], rows: Sequence[Contender], seed: int
) -> Iterator[Judged]:
    """Runs every contender on every held-out record, one case at a time.

    What physics makes of a case's raw data comes first. Values are the task's, and "seconds": of
    one restoration of the whole case, warm, of a network from its input.
    """
    warm = False
    for number, record in enumerate(records):
        case = task.simulate(record, seed + number)
        images: dict[str, np.ndarray] = {task.reference_name: case.reference}
        values = {task.reference_name: task.judge(case, case.reference)}
        for name, correct in case.corrections.items():
            begin = time.perf_counter()
            images[name] = correct()
            seconds = time.perf_counter() - begin
            values[name] = {**task.judge(case, images[name]), "seconds": seconds}
        for row in rows:
            given = case.network_input if row.kind == "network" else case.degraded
            if row.kind == "network" and not warm:
                row.run(given, case.noise_std)
                warm = True
            begin = time.perf_counter()
            images[row.name] = row.run(given, case.noise_std)
            seconds = time.perf_counter() - begin
            values[row.name] = {**task.judge(case, images[row.name]), "seconds": seconds}
        _log.info("judged %s (%d of %d)", case.name, number + 1, len(records))
        yield Judged(case, images, values)
