"""Slices of one chest by a sharp kernel, as noisy as it makes them; the dataset "ct_chest_sharp".

There is no clean version of them. The same raw scan by a soft kernel lies beside, in the same
folder of MEDJAX_DATA; it is in no split.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import fill_invalid
from medjax.data.recipes import Recipe, data_folder, record_of
from medjax.errors import UserError
from medjax.io import read_scan

FOLDER = "ct_chest_kernel_pairs"
SHARP, SOFT = "Lung_Dx-A0001_L.nii.gz", "Lung_Dx-A0001_B.nii.gz"
# Of 30 slices 5 mm apart: these to learn on, and after a gap of two those to test on.
LEARNT, TESTED = range(14), range(16, 30)

INFO = DatasetInfo(
    name="ct_chest_sharp",
    version="1.0.0",
    licence="CC BY 4.0 (TCIA Lung-PET-CT-Dx)",
    source="28 slices of one patient of TCIA's Lung-PET-CT-Dx, sharp kernel (Philips L), as they "
    "came, without clean versions",
    modality="CT",
    unit="HU",
)


def shards() -> Mapping[str, Sequence[Shard]]:
    """One shard a split.

    Raises:
      UserError: the scan is missing.
    """
    file = data_folder(FOLDER, INFO.name, INFO.dims) / SHARP
    splits = {"train": LEARNT, "test": TESTED}
    return {name: [_bind(file, slices)] for name, slices in splits.items()}


RECIPE = Recipe(INFO, shards, local=True)


def _bind(file: Path, slices: range) -> Shard:
    return lambda: _read(file, slices)


def _read(file: Path, slices: range) -> Iterator[Record]:
    scan = read_scan(file, INFO.modality)
    if scan.spacing is None or len(scan.array) <= slices[-1]:
        raise UserError(f"{file.name}: too few slices, or of unknown pixel size; get it again")
    volume = fill_invalid(scan)
    for z in slices:
        record = record_of(
            INFO, volume[z], f"chest slice {z}", subject="chest", spacing=scan.spacing[-2:]
        )
        yield {**record, "index": z}
