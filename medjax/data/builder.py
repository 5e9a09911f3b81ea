"""Datasets on disk: TFDS `ShardBasedBuilder`s in ArrayRecord files, without TensorFlow.

A dataset lives in `HOME/datasets/NAME/VERSION`: TFDS's own files and `medjax.json`, which says
what the data are, under which licence, and how many records each split holds.
"""

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32
from tensorflow_datasets.core.utils import tqdm_utils

from medjax.errors import UserError
from medjax.home import home as default_home

INFO_FILE = "medjax.json"


class Record(TypedDict):
    """One example on disk.

    Attributes:
      image: [*space] in `unit`; [y, x], [z, y, x] or [t, z, y, x].
      spacing: [n] millimetres, for t seconds, along the axes of `image`; NaN where unknown.
      case: which scan, without patient data.
      subject: anonymous key of whoever was scanned.
      modality: DICOM's modality code.
      unit: "HU" or "".
      index: number of the slice (or frame) in its scan.
    """

    image: Float32[np.ndarray, "*space"]
    spacing: Float32[np.ndarray, " n"]
    case: str
    subject: str
    modality: str
    unit: str
    index: int


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a prepared dataset is.

    Attributes:
      name: what `--data` calls it.
      version: "major.minor.patch"; preparing a name again makes the next major version.
      licence: what the data may be used for, in the owner's words.
      source: where the data come from.
      modality: DICOM's modality code.
      unit: of the intensities, "HU" or "".
      dims: 2, a record a slice; 3, a volume; 4, a series of volumes.
      counts: records in each split.
      subjects: different subjects in each split.
      bytes: size on disk.
    """

    name: str
    version: str
    licence: str
    source: str
    modality: str
    unit: str
    dims: int = 2
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    subjects: Mapping[str, int] = dataclasses.field(default_factory=dict)
    bytes: int = 0


# One shard: called when its turn comes, so that a shard's scans are read only then.
Shard = Callable[[], Iterable[Record]]
Finish = Callable[[Path, DatasetInfo], DatasetInfo]


def datasets_folder(home: Path | None = None) -> Path:
    """Where datasets live: `home`, else `$MEDJAX_HOME`, else `~/.cache/medjax`; plus "datasets"."""
    return (Path(home).expanduser() if home else default_home()) / "datasets"


def features(dims: int) -> tfds.features.FeaturesDict:
    """The TFDS features of a `Record` with `dims` space axes."""
    return tfds.features.FeaturesDict(
        {
            # TFDS rounds unencoded floats through text-like protos and knows one open axis only.
            "image": tfds.features.Tensor(shape=(None,) * dims, dtype=np.float32, encoding="bytes"),
            "spacing": tfds.features.Tensor(shape=(dims,), dtype=np.float32, encoding="bytes"),
            "case": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "modality": tfds.features.Text(),
            "unit": tfds.features.Text(),
            "index": tfds.features.Scalar(np.int64),
        }
    )


def write_dataset(
    info: DatasetInfo,
    splits: Mapping[str, Sequence[Shard]],
    home: Path | None = None,
    finish: Finish | None = None,
) -> DatasetInfo:
    """Writes a dataset; nothing appears under its name before all of it is there.

    Args:
      info: name, version, licence, ...; `counts`, `subjects` and `bytes` are filled in here.
      splits: the shards of each split, written one after the other; of a shard, one record at a
        time is in memory.
      home: see `datasets_folder`.
      finish: called when all records are written, with the still temporary folder and the info;
        may put more files there, complete the info, or raise to throw all of it away.

    Returns:
      `info` with what was counted.

    Raises:
      FileExistsError: that version is there already.
    """
    folder = datasets_folder(home)
    target = folder / info.name / info.version
    if target.exists():
        raise FileExistsError(f"{target} exists")
    counts = {name: 0 for name in splits}
    subjects: dict[str, set[str]] = {name: set() for name in splits}
    done = info

    def examples(split: str, number: int, shard: Shard) -> Iterator[tuple[str, dict[str, Any]]]:
        # No name but `example` may hold on to a record (`enumerate` would): a slice keeps its whole
        # volume in memory, and the next one is about to be read.
        records = iter(shard())
        for i in itertools.count():
            example: dict[str, Any] = dict(next(records, {}))
            if not example:
                return
            counts[split] += 1
            subjects[split].add(example["subject"])
            yield f"{number}_{i}", example
            # TFDS's writer tees the shard to count it, which would keep every image of the
            # shard in memory; by now this one is written.
            example.clear()

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(info.version)
        RELEASE_NOTES: Mapping[str, str] = {info.version: info.source}
        name = info.name

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=info.source,
                license=info.licence,
                features=features(info.dims),
                disable_shuffling=True,
            )

        # TFDS prints both; medjax speaks to the user itself.
        def _log_download_bytes(self) -> None: ...

        def _log_download_done(self) -> None: ...

        def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Any]]:
            return {
                name: [_bind(examples, name, i, shard) for i, shard in enumerate(shards)]
                for name, shards in splits.items()
            }

        def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
            super()._download_and_prepare(*args, **kwargs)
            # Still the temporary folder, so these files appear together with the records.
            nonlocal done
            here = Path(self.data_dir)
            done = dataclasses.replace(
                info,
                counts=dict(counts),
                subjects={name: len(found) for name, found in subjects.items()},
                bytes=sum(f.stat().st_size for f in here.rglob("*") if f.is_file()),
            )
            if finish is not None:
                done = finish(here, done)
            (here / INFO_FILE).write_text(json.dumps(dataclasses.asdict(done), indent=1))

    with _quiet():
        builder = Builder(data_dir=os.fspath(folder), file_format="array_record")
        builder.download_and_prepare()
    return done


def _bind(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: function(*args)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No TFDS progress bars on the user's terminal; medjax draws its own."""
    before = tqdm_utils._active
    tqdm_utils.display_progress_bar(False)
    try:
        yield
    finally:
        tqdm_utils.display_progress_bar(before)


def read_info(folder: Path) -> DatasetInfo:
    """The description of the dataset in `HOME/datasets/NAME/VERSION`."""
    return DatasetInfo(**json.loads((folder / INFO_FILE).read_text()))


def versions(name: str, home: Path | None = None) -> tuple[Path, ...]:
    """The folders of a dataset's prepared versions, oldest first; empty if there is none."""
    found = (f.parent for f in (datasets_folder(home) / name).glob(f"*/{INFO_FILE}"))
    ready = [f for f in found if all(part.isdigit() for part in f.name.split("."))]
    return tuple(sorted(ready, key=lambda f: tuple(int(p) for p in f.name.split("."))))


class RecordSource(Sequence[Record]):
    """Random access to the records of one split; TFDS's own source with its text decoded.

    Args:
      records: TFDS's source.
      where: the files that hold them, for messages.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]], where: str) -> None:
        self._records = records
        self._where = where

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        try:
            record = self._records[number]
        # What ArrayRecord and TFDS raise of files that are gone, altered, or cut short (TypeError).
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{self._where}: record {number} cannot be read ({why}); put the file back, or "
                "remove its folder and prepare the dataset again"
            ) from error
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in record.items()}


def open_splits(folder: Path) -> dict[str, RecordSource]:
    """Random access to the records of each split of a prepared dataset."""
    builder = tfds.builder_from_directory(os.fspath(folder))
    names = [str(name) for name in builder.info.splits]
    # TFDS wraps the method without its signature.
    open_one = cast(Callable[..., Sequence[Mapping[str, Any]]], builder.as_data_source)
    return {name: RecordSource(open_one(name), f"{folder}/*-{name}.*") for name in names}
