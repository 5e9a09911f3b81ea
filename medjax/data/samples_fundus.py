"""Real fundus photographs as datasets: DRIVE from the user's own folder, one eye by scikit-image.

The green channel, 0 to 255: haemoglobin absorbs green most, so vessels stand out there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import skimage.data
from jaxtyping import Float32

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import shrunk
from medjax.data.recipes import Recipe, data_folder, record_of
from medjax.errors import UserError
from medjax.io import read_scan

GREEN = 1

DRIVE = DatasetInfo(
    name="fundus_drive",
    version="1.0.0",
    licence="DRIVE: free for research; cite Staal et al., IEEE TMI 2004",
    source="DRIVE: 20 + 20 photographs, 565 x 584 pixels, from diabetic retinopathy screening",
    modality="OP",
    unit="",
)
SAMPLE = DatasetInfo(
    name="fundus_samples",
    version="1.0.0",
    licence="public domain; comes with scikit-image (retina.jpg, by Mikael Häggström)",
    source="one photograph of one healthy eye; the test half is the same eye's other side",
    modality="OP",
    unit="",
)
# DRIVE as it was published, and as copies of it are laid out.
FOLDERS = {"train": ("training", "train"), "test": ("test",)}
ENDINGS = (".png", ".tif", ".tiff", ".jpg")


def green(path: Path) -> Float32[np.ndarray, "y x"]:
    """The green channel of a colour picture, or a grey picture as it is.

    Raises:
      UserError: the file cannot be read.
    """
    scan = read_scan(path)
    return np.ascontiguousarray(scan.array[..., GREEN] if "c" in scan.axes else scan.array)


def _drive_files(folder: Path, split: str) -> list[Path]:
    for name in FOLDERS[split]:
        pictures = (folder / name / "images").glob("*")
        found = sorted(f for f in pictures if f.suffix.lower() in ENDINGS)
        if found:
            return found
    raise UserError(f"{folder}: has no pictures in {FOLDERS[split][0]}/images; unpack DRIVE there")


def _drive_shards() -> Mapping[str, Sequence[Shard]]:
    folder = data_folder("fundus_drive", DRIVE.name, 2)

    def shard(split: str, files: Sequence[Path]) -> Iterator[Record]:
        for file in files:
            yield record_of(DRIVE, green(file), f"{split}-{file.stem}")

    found = {split: _drive_files(folder, split) for split in FOLDERS}
    return {split: [lambda s=split, f=files: shard(s, f)] for split, files in found.items()}


def _sample_shards() -> Mapping[str, Sequence[Shard]]:
    photograph = np.asarray(skimage.data.retina(), np.float32)[..., GREEN]
    # Half the size: a vessel is then as many pixels wide as in DRIVE.
    small = shrunk(photograph, (2, 2))
    middle = small.shape[1] // 2
    halves = {"train": small[:, :middle], "test": small[:, middle:]}
    return {
        split: [lambda i=half, s=split: [record_of(SAMPLE, i, f"eye-{s}")]]
        for split, half in halves.items()
    }


DRIVE_RECIPE = Recipe(DRIVE, _drive_shards, local=True)
SAMPLE_RECIPE = Recipe(SAMPLE, _sample_shards)
