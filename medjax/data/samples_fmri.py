"""Real EPI that comes with nibabel, as the dataset "fmri_samples".

Two files of two subjects. The one to test on is a series of 20 volumes of three slices. The one
to train on has two volumes only, so their mean is repeated: a still head, real in its anatomy and
its contrast, without any change over time; the task puts a signal on it (`tasks.fmri`).
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import fill_invalid, shrunk
from medjax.data.recipes import Recipe, record_of
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.scan import Scan

TRAIN_FILE, TEST_FILE = "example4d.nii.gz", "functional.nii"
FRAMES = 24
# The file says 2000 s.
STILL_SECONDS = 2.0
# To 8.8 mm slices of 4 mm pixels, about those of the series to test on.
SHRINK = (4, 2, 2)
# That series has three slices: so the head is there in two slabs of three, too.
SLABS = {"still-a": slice(None), "still-a-lower": slice(0, 3), "still-a-upper": slice(3, 6)}

INFO = DatasetInfo(
    name="fmri_samples",
    version="1.0.0",
    licence="MIT, as part of nibabel",
    source="EPI of two subjects from nibabel's test files; the training one is held still",
    modality="MR",
    unit="",
    dims=4,
)


def series_record(
    image: Float[np.ndarray, "t z y x"],
    seconds: float | None,
    spacing: Sequence[float] | None,
    case: str,
    subject: str,
) -> Record:
    """A record of a series; what is not known of time and space is NaN."""
    mm = (np.nan,) * 3 if spacing is None else spacing
    steps = (np.nan if seconds is None else seconds, *mm)
    return record_of(INFO, image, case, subject=subject, spacing=steps)


def still(volume: Float[np.ndarray, "z y x"], frames: int) -> Float32[np.ndarray, "t z y x"]:
    """A volume repeated `frames` times."""
    return np.repeat(volume[None].astype(np.float32), frames, axis=0)


def read_series(file: Path) -> tuple[Scan, Float32[np.ndarray, "t z y x"]]:
    """A NIfTI file of one or more volumes, and its values.

    Raises:
      UserError: it cannot be read or holds no volumes.
    """
    scan = read_scan(file, "MR")
    image = fill_invalid(scan)
    if scan.axes not in ("zyx", "tzyx"):
        raise UserError(f"{file}: is no series of volumes (axes {scan.axes}); take another file")
    return scan, image if image.ndim == 4 else image[None]


def _shards() -> Mapping[str, Sequence[Shard]]:
    folder = Path(str(files("nibabel") / "tests" / "data"))
    missing = [name for name in (TRAIN_FILE, TEST_FILE) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{missing[0]} is not among nibabel's test files: install nibabel again from PyPI"
        )

    def train() -> Iterator[Record]:
        scan, image = read_series(folder / TRAIN_FILE)
        assert scan.spacing is not None
        spacing = [mm * f for mm, f in zip(scan.spacing, SHRINK, strict=True)]
        volume = shrunk(image.mean(axis=0), SHRINK)
        for case, slab in SLABS.items():
            yield series_record(still(volume[slab], FRAMES), STILL_SECONDS, spacing, case, "a")

    def test() -> Iterator[Record]:
        scan, image = read_series(folder / TEST_FILE)
        yield series_record(image, scan.time_step, scan.spacing, "epi-b", "b")

    return {"train": [train], "test": [test]}


RECIPE = Recipe(INFO, _shards)
