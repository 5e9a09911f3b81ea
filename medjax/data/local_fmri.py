"""fMRI from the user's own folder: real series ("fmri_series"), brain templates ("fmri_template").

Both expect their files below MEDJAX_DATA. Series of too few volumes are held still: their mean
repeated, real in anatomy and contrast, without change over time. The templates are T1-weighted
heads at 4 mm whose greys were changed to those of an EPI; still too. The task puts a known signal
on top of every series (`tasks.fmri`).
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import shrunk
from medjax.data.local_mri import SPACING_MM, standard_grid
from medjax.data.recipes import Recipe, data_folder
from medjax.data.samples_fmri import read_series, series_record, still
from medjax.io import read_scan

SECONDS = 2.0
STILL_FRAMES = 16
# Greys of a T1-weighted head as fractions of its 99th percentile (air, fluid, grey matter, white
# matter, fat), and what a fat-suppressed EPI makes of them.
T1_GREYS = (0.0, 0.08, 0.2, 0.55, 0.85, 1.1, 2.0)
EPI_GREYS = (0.0, 0.0, 1.3, 1.0, 0.75, 0.2, 0.1)
SHRINK = (2, 2, 2)


@dataclasses.dataclass(frozen=True)
class Series:
    """One file: where it lies, whom it shows, the split it belongs to.

    Attributes:
      file: below the folder of data.
      case: name of the record.
      subject: of the same name where files show the same head.
      split: where it belongs.
      seconds: repetition time where the file is wrong about it.
      frames: volumes of a series that is held still; 0 takes the series as it is.
    """

    file: str
    case: str
    subject: str
    split: str
    seconds: float | None = None
    frames: int = 0


SERIES = (
    Series("niivue_pcasl_52x68x20x10.nii.gz", "pcasl-a", "a", "train"),
    Series("niivue_epi_90x90x60_1vol.nii.gz", "still-b", "b", "train", SECONDS, STILL_FRAMES),
    Series("niimath_3vols_64x64x34x3.nii.gz", "still-c", "c", "train", SECONDS, STILL_FRAMES),
    # Twelve runs of one slice would be most of the patches; two are enough.
    Series("haxby_1slice/task001_run001.nii.gz", "slice-d-1", "d", "train"),
    Series("haxby_1slice/task001_run002.nii.gz", "slice-d-2", "d", "train"),
    # The header says 1 s, the study that it comes from 3 s.
    Series("fsl_avtest/fmri.nii.gz", "bold-e", "e", "test", 3.0),
)

TEMPLATES = (
    Series("pycortex_S1_T1_256.nii.gz", "template-a", "a", "train", SECONDS, STILL_FRAMES),
    Series("niivue_chris_t1.nii.gz", "template-b", "b", "test", SECONDS, 60),
)

SERIES_INFO = DatasetInfo(
    name="fmri_series",
    version="1.0.0",
    licence="CC BY-NC 4.0 (a), not stated (b), BSD-2 (c), MIT (d), GPL (e)",
    source="EPI series of five subjects from niivue-demo-images, niimath, PyMVPA (Haxby 2001) and "
    "cudaBayesreg (FSL course); b and c are held still",
    modality="MR",
    unit="",
    dims=4,
)

TEMPLATE_INFO = DatasetInfo(
    name="fmri_template",
    version="1.0.0",
    licence="BSD-2 (a), CC BY-NC 4.0 (b)",
    source="T1-weighted heads of pycortex and niivue-demo-images at 4 mm, greys made EPI's, still",
    modality="MR",
    unit="",
    dims=4,
)


def epi_contrast(head: Float[np.ndarray, "*space"]) -> Float32[np.ndarray, "*space"]:
    """A T1-weighted head in greys like those of a fat-suppressed EPI: fluid bright, fat dark."""
    scale = max(float(np.percentile(head, 99)), 1e-6)
    return np.interp(head / scale, T1_GREYS, EPI_GREYS).astype(np.float32)


def _series(one: Series, file: Path) -> Iterator[Record]:
    scan, image = read_series(file)
    if one.frames:
        image = still(image.mean(axis=0), one.frames)
    seconds = one.seconds or scan.time_step
    yield series_record(image, seconds, scan.spacing, one.case, one.subject)


def _template(one: Series, file: Path) -> Iterator[Record]:
    head = epi_contrast(standard_grid(read_scan(file, "MR")))
    spacing = [SPACING_MM * f for f in SHRINK]
    image = still(shrunk(head, SHRINK), one.frames)
    yield series_record(image, one.seconds, spacing, one.case, one.subject)


def _dealt(files: Sequence[Series], folder: str, info: DatasetInfo, read) -> dict[str, list[Shard]]:
    dealt: dict[str, list[Shard]] = {}
    for one in files:
        file = data_folder(folder, info.name, info.dims) / one.file
        dealt.setdefault(one.split, []).append(functools.partial(read, one, file))
    return dealt


def _series_shards() -> Mapping[str, Sequence[Shard]]:
    return _dealt(SERIES, "fmri", SERIES_INFO, _series)


def _template_shards() -> Mapping[str, Sequence[Shard]]:
    return _dealt(TEMPLATES, "mri_volumes", TEMPLATE_INFO, _template)


SERIES_RECIPE = Recipe(SERIES_INFO, _series_shards, local=True)
TEMPLATE_RECIPE = Recipe(TEMPLATE_INFO, _template_shards, local=True)
RECIPES = (SERIES_RECIPE, TEMPLATE_RECIPE)
