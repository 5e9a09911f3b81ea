"""Batches of random patches, by Grain: shuffled, shared by row, resumable to the patch.

The stream is one endless sequence of numbered patches. What patch number i shows depends on the
seed and on i alone, never on threads, batch size or process count. Of several processes each reads
and cuts its own rows of every batch only. So a run resumes exactly, at the same position on any
number of processes, and a global batch is the same patches in the same order on all of them.
"""

import dataclasses
import functools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Float32

from medjax.data.builder import Record
from medjax.data.memory import ArrayCache

Corner = tuple[int, ...]
Context = Callable[[Mapping[str, Any], Corner], Mapping[str, np.ndarray]]
Survey = Callable[[Record], np.ndarray]

CACHE_BYTES = 2 * 1024**3
SURVEY_BYTES = 2 * 1024**3
# Above the noise of air around the patient, below lung.
AIR_BELOW_HU = -950.0
MAX_PATCHES_PER_RECORD = 4096


@dataclasses.dataclass(frozen=True)
class PatchChoice:
    """How random patches avoid empty regions.

    Attributes:
      max_air: a patch with a larger share of air (of background, for units other than HU) is
        drawn again.
      tries: draws at most; the one with the least air is taken. 1: uniformly random patches.
    """

    max_air: float = 0.8
    tries: int = 4


def batches(
    source: Sequence[Record],
    *,
    batch_size: int,
    patch: tuple[int, ...] | None,
    seed: int,
    rows: Sequence[int] | None = None,
    threads: int = 2,
    context: Context | None = None,
    survey: Survey | None = None,
    choice: PatchChoice = PatchChoice(),
    cache_bytes: int = CACHE_BYTES,
    survey_bytes: int = SURVEY_BYTES,
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """An endless, checkpointable iterator of raw batches.

    In an epoch every record gives as many patches as fit into it side by side, in an order and
    at places that differ each epoch.

    Args:
      source: the records of one split, all with the same number of axes n.
      batch_size: patches in a batch, over all processes.
      patch: samples along each axis; smaller images are continued by reflection. None: whole
        images, which must then all have one shape.
      seed: of order and places, 0 to 2**32 - 1.
      rows: of each batch, those that this process reads, as `train.share.rows` gives them. None:
        all.
      threads: that read ahead; 0 reads when asked.
      context: more arrays for a patch, computed from its record and from the index in
        `record["image"]` of the patch's first sample (negative where the image was continued).
        Stacked into the batch; must be deterministic.
      survey: computes from a record what `context` needs for any of its patches, and finds under
        `record["survey"]`. Once a record while it is kept; must be deterministic.
      choice: how to avoid patches of air.
      cache_bytes: decoded images are kept in memory up to this size; the first that come stay.
      survey_bytes: likewise surveys, also of images that are not; the last that were used stay.

    Returns:
      A Grain iterator, with `get_state` and `set_state`, of
      `{"image": float32 [rows, *patch, 1], "spacing": float32 [rows, n], **context}`.

    Raises:
      ValueError: no records, rows that no batch has, or a patch whose axes are not the records'.
    """
    if not len(source):
        raise ValueError("no records to draw patches from")
    rows = range(batch_size) if rows is None else rows
    if not len(rows) or min(rows) < 0 or max(rows) >= batch_size:
        raise ValueError(f"rows {list(rows)} of a batch of {batch_size}")
    shape = source[0]["image"].shape
    if patch is not None and len(patch) != len(shape):
        raise ValueError(f"patch {patch} for images of {len(shape)} axes")
    cached = _Cached(source, cache_bytes, survey, survey_bytes)
    count = 1 if patch is None else patches_per_record(shape, patch)

    def cut(number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record, air = cached[number % len(source)]
        return _example(record, patch, air, choice, context, rng)

    numbers = _Shuffled(len(source) * count, seed).seed(seed)
    mine = _Rows(numbers.random_map(cut), batch_size, rows)
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(mine.batch(len(rows), drop_remainder=True).to_iter_dataset(reading))


def patches_per_record(shape: Sequence[int], patch: Sequence[int]) -> int:
    """How many patches cover an image side by side, at least 1 and at most 4096."""
    return min(
        int(np.prod([-(-n // p) for n, p in zip(shape, patch, strict=True)])),
        MAX_PATCHES_PER_RECORD,
    )


def random_patch(
    image: Float32[np.ndarray, "*space"],
    patch: tuple[int, ...],
    air_below: float,
    choice: PatchChoice,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "*patch"], Corner]:
    """A patch and the index in `image` of its first sample.

    Args:
      image: any shape; axes shorter than the patch are continued by reflection on both sides.
      patch: samples along each axis.
      air_below: values under it count as air.
      choice: how much air is too much.
      rng: where the patch lies; always advanced by the same number of draws.
    """
    short = [max(p - n, 0) for n, p in zip(image.shape, patch, strict=True)]
    before = [s // 2 for s in short]
    if any(short):
        pads = [(b, s - b) for b, s in zip(before, short, strict=True)]
        image = np.pad(image, pads, mode="reflect")
    free = [n - p + 1 for n, p in zip(image.shape, patch, strict=True)]
    corners = rng.integers(0, free, size=(choice.tries, len(patch)))
    best, least = None, np.inf
    for corner in corners:
        window = image[tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))]
        air = np.count_nonzero(window < air_below) / window.size if choice.tries > 1 else 0.0
        if air < least:
            best, least = (window, corner), air
        if air <= choice.max_air:
            break
    assert best is not None
    return best[0], tuple(int(c) - b for c, b in zip(best[1], before, strict=True))


def air_threshold(image: Float32[np.ndarray, "*space"], unit: str) -> float:
    """The value under which a sample shows no body: -950 HU, else 5 % of the image's range."""
    if unit == "HU":
        return AIR_BELOW_HU
    low, high = float(image.min()), float(image.max())
    return low + 0.05 * (high - low)


def _example(
    record: Mapping[str, Any],
    patch: tuple[int, ...] | None,
    air_below: float,
    choice: PatchChoice,
    context: Context | None,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    image = record["image"]
    corner: Corner = (0,) * image.ndim
    if patch is not None:
        image, corner = random_patch(image, patch, air_below, choice, rng)
    more = context(record, corner) if context else {}
    return {"image": image[..., None], "spacing": record["spacing"], **more}


class _Shuffled(grain.MapDataset):
    """The numbers below `count`, without end, in an order of its own each epoch.

    Grain's own shuffle draws until a number is in range: among 32 that takes 1.2 ms a number, more
    than all else that makes a patch, and 0.003 ms among 65 536.
    """

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        self._count, self._seed = count, seed

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: Any) -> Any:
        epoch, place = divmod(index, self._count)
        return int(_order(self._count, self._seed, epoch)[place])


@functools.lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


class _Rows(grain.MapDataset):
    """The elements of `parent` that fall on `rows` of batches of `size`."""

    def __init__(self, parent: grain.MapDataset, size: int, rows: Sequence[int]) -> None:
        super().__init__(parent)
        self._stream, self._size, self._rows = parent, size, tuple(rows)

    def __len__(self) -> int:
        return len(self._stream) // self._size * len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        batch, place = divmod(index, len(self._rows))
        return self._stream[batch * self._size + self._rows[place]]


class _Cached:
    """Records with their survey and air threshold; the first ones read stay decoded in memory.

    Every record is as likely to be asked for as any other, so evicting one for another gains
    nothing. Surveys are small, and dear: they have room of their own.
    """

    def __init__(
        self, source: Sequence[Record], limit: int, survey: Survey | None, survey_limit: int
    ) -> None:
        self._source = source
        self._left = limit
        self._survey = survey
        self._survey_limit = survey_limit
        self._surveys = ArrayCache(survey_limit)
        self._kept: dict[int, tuple[Record, float]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> tuple[Mapping[str, Any], float]:
        record, air = self._read(index)
        survey = self._survey
        if survey is None:
            return record, air
        return {**record, "survey": self._surveys.get(index, lambda: survey(record))}, air

    def _read(self, index: int) -> tuple[Record, float]:
        found = self._kept.get(index)
        if found is None:
            record = self._source[index]
            found = (record, air_threshold(record["image"], record["unit"]))
            size = record["image"].nbytes
            with self._lock:
                if index not in self._kept and size <= self._left:
                    self._left -= size
                    self._kept[index] = found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _Cached, (self._source, self._left, self._survey, self._survey_limit)
