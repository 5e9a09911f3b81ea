"""Real radiographs that come with pydicom-data, as the dataset "xray_samples".

There are two: a chest to train on and a lower leg, of another patient and another maker's plate,
to test on. Greys are stored as fractions of the file's grey scale, 0 black to 1 white, so bone is
bright; every 2 x 2 pixels are averaged, which quarters the variance of the noise that the files
came with. Neither file tells its pixel size, so spacing is NaN.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import shrunk
from medjax.data.recipes import Recipe, record_of
from medjax.data.samples import sample_file
from medjax.io import read_scan

SHRINK = 2


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """A part of a bundled file.

    Attributes:
      file: what pydicom-data calls it.
      case: what it shows.
      subject: whom it shows.
      split: where it belongs.
      white: the largest grey that the file's bits can hold.
      rows: first row kept and the one after the last, to leave out what no X-rays reached.
      columns: the same for columns.
    """

    file: str
    case: str
    subject: str
    split: str
    white: int
    rows: tuple[int, int]
    columns: tuple[int, int]


RADIOGRAPHS = (
    # The uppermost rows are a strip of calibration that is no image.
    Radiograph("RG1_UNCR.dcm", "chest", "chest", "train", 2**15 - 1, (35, 1955), (0, 1841)),
    # Shutters cover both sides; the two halves of what is left show shaft and ankle.
    Radiograph("RG3_UNCR.dcm", "leg-shaft", "leg", "test", 2**10 - 1, (0, 880), (470, 1230)),
    Radiograph("RG3_UNCR.dcm", "leg-ankle", "leg", "test", 2**10 - 1, (880, 1760), (470, 1230)),
)

INFO = DatasetInfo(
    name="xray_samples",
    version="1.0.0",
    licence="MIT, as part of pydicom-data",
    source="radiographs of a chest and a leg from the test files of pydicom-data",
    modality="CR",
    unit="",
)


def _shards() -> Mapping[str, Sequence[Shard]]:
    files = {one.file: sample_file(one.file) for one in RADIOGRAPHS}

    def shard(split: str) -> Iterator[Record]:
        for one in RADIOGRAPHS:
            if one.split == split:
                yield _record(one, read_scan(files[one.file]).array)

    names = dict.fromkeys(one.split for one in RADIOGRAPHS)
    return {name: [lambda name=name: shard(name)] for name in names}


def _record(one: Radiograph, greys: Float32[np.ndarray, "y x"]) -> Record:
    part = greys[slice(*one.rows), slice(*one.columns)] / np.float32(one.white)
    return record_of(INFO, shrunk(part, (SHRINK, SHRINK)), one.case, subject=one.subject)


RECIPE = Recipe(INFO, _shards)
