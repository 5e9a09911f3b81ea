"""The two reconstructions of one raw scan, and where in them is measured."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from medjax.data.convert import fill_invalid
from medjax.data.local_ct import FOLDER, SHARP, SOFT, TESTED
from medjax.data.recipes import DATA_VARIABLE, data_folder
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.metrics.ct import flat_tissue_mask
from medjax.physics.lesions import Spacing


class Pair(NamedTuple):
    """Slices of one raw scan by two kernels, HU, [z, y, x], with their numbers and mm.

    Attributes:
      sharp: what is restored.
      soft: the scanner's own answer to noise; tells tissue and edges.
      flat: soft tissue without structure, from the soft slices; the same for every method.
      numbers: of the slices in the scan.
      spacing: mm along z, y, x.
    """

    sharp: Float32[np.ndarray, "z y x"]
    soft: Float32[np.ndarray, "z y x"]
    flat: Bool[np.ndarray, "z y x"]
    numbers: Sequence[int]
    spacing: Spacing


def kernel_pair(wanted: Sequence[int] | None, count: int = 5) -> Pair:
    """The slices wanted, or some spread over those that no network has learned on.

    Raises:
      UserError: the scans are not there or do not belong together, or a slice is not to be judged.
    """
    sharp, soft = (_read(name) for name in (SHARP, SOFT))
    if sharp.array.shape != soft.array.shape or sharp.spacing is None:
        raise UserError(f"{FOLDER}: {SHARP} and {SOFT} must be one scan with a known pixel size")
    inside = range(TESTED.start, min(TESTED.stop, len(sharp.array)))
    if not inside:
        raise UserError(f"{SHARP}: slices from {TESTED.start} on are judged, and there are none")
    if wanted is None:
        wanted = sorted({round(z) for z in np.linspace(inside[0], inside[-1], count)})
    for z in wanted:
        if z not in inside:
            raise UserError(
                f"--slices {z}: give slices {inside[0]} to {inside[-1]}; others are fine-tuned on"
            )
    one, other = (fill_invalid(scan)[list(wanted)] for scan in (sharp, soft))
    z, y, x = sharp.spacing
    return Pair(one, other, flat_tissue_mask(other), list(wanted), (z, y, x))


def _read(name: str):
    try:
        file = data_folder(FOLDER, FOLDER, 3) / name
    except UserError:
        file = None
    if file is None or not file.is_file():
        raise UserError(
            f"{FOLDER}/{name}: the scan that is judged is not there; let {DATA_VARIABLE} name the "
            "folder that holds it"
        )
    return read_scan(file, "CT")
