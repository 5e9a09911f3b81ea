"""Seen: what scans a network learned from, kept in its run folder, so that others can be told."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from medjax.data import catalog, local_mri
from medjax.data.builder import open_splits, versions
from medjax.data.catalog import Dataset
from medjax.errors import UserError
from medjax.io.common import atomic

SEEN = "seen.json"
# Records whose spacing is looked at; reading all of a large dataset would take long.
LOOKED_AT = 64
# Datasets whose scans were all brought to one grid, by their source (a user's own dataset may have
# the same name): the directions in which the axes rise, as `standard_grid` makes them.
TURNED = {local_mri.INFO.source: "SAR"}


@dataclasses.dataclass(frozen=True)
class Seen:
    """The training scans of a run, as far as a scan to be restored must be like them.

    Attributes:
      modality: DICOM's modality code; "" where unknown.
      spacing: least and greatest distance of samples along each axis, in mm, of a time axis in
        seconds; () where unknown.
      directions: where the axes of all of them rise to, one of R L A P S I an axis of space, e.g.
        "SAR" for [z, y, x] that rise to superior, anterior and right; "" where each scan lay as
        its file had it.
      noise: least and greatest noise level of the patches that the network was given, by
        `medjax.levels`; None where unknown, or where noise is not what is undone.
      far: greatest shares of a slice's samples far below and far above the window; None likewise.
    """

    modality: str = ""
    spacing: tuple[tuple[float, float], ...] = ()
    directions: str = ""
    noise: tuple[float, float] | None = None
    far: tuple[float, float] | None = None

    @property
    def affine(self) -> Float32[np.ndarray, "4 4"] | None:
        """The directions as `Scan.affine` has them, 1 mm a sample; None where they are not known.

        Enough to show a volume the right way up.
        """
        if len(self.directions) != 3:
            return None
        affine = np.eye(4, dtype=np.float32)
        ends = ("LR", "PA", "IS")
        for axis, to in enumerate(self.directions):
            affine[:3, axis] = [pair.find(to) * 2 - 1 if to in pair else 0 for pair in ends]
        return affine


NOTHING = Seen()


def of_dataset(dataset: Dataset) -> Seen:
    """What the training split of a dataset shows."""
    info, records = dataset.info, dataset.split("train")
    picked = np.unique(np.linspace(0, len(records) - 1, LOOKED_AT).astype(int))
    steps = np.stack([np.asarray(records[int(i)]["spacing"], np.float64) for i in picked])
    known = np.isfinite(steps).all()
    ends = zip(steps.min(axis=0).tolist(), steps.max(axis=0).tolist(), strict=True)
    return Seen(info.modality, tuple(ends) if known else (), TURNED.get(info.source, ""))


def keep(
    folder: Path,
    name: str,
    noise: tuple[float, float] | None = None,
    far: tuple[float, float] | None = None,
) -> None:
    """Writes what the dataset `name` shows into the folder of a run that was trained on it.

    `noise` and `far` are what its network was given, by `medjax.levels.trained_on`.
    """
    found = dataclasses.replace(of_dataset(catalog.load(name)), noise=noise, far=far)
    with atomic(folder / SEEN) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(found)))


def recall(folder: Path, description: Mapping[str, Any]) -> Seen:
    """What a run has seen: what `keep` wrote, else what can be told from its description.

    Args:
      folder: the run's.
      description: of its experiment.json.

    Raises:
      UserError: what `keep` wrote is damaged.
    """
    path = folder / SEEN
    if path.is_file():
        return _read(path)
    info = description.get("dataset")
    if not isinstance(info, Mapping):
        return Seen()
    found = [f for f in versions(str(info.get("name"))) if f.name == info.get("version")]
    if found:
        # Nothing is prepared for this: restoring must not wait for a dataset.
        described = catalog.read_info(found[-1])
        if described.source == info.get("source"):
            # A run serves without its dataset, so also where that is damaged.
            with contextlib.suppress(OSError, ValueError, RuntimeError, IndexError, UserError):
                return of_dataset(Dataset(described.name, open_splits(found[-1]), described))
    directions = TURNED.get(str(info.get("source")), "")
    grid = ((local_mri.SPACING_MM, local_mri.SPACING_MM),) * len(directions)
    return Seen(str(info.get("modality", "")), grid, directions)


def _read(path: Path) -> Seen:
    try:
        data = json.loads(path.read_text())
        spacing = tuple((float(low), float(high)) for low, high in data["spacing"])
        # Runs from before they were kept do not know these.
        noise, far = (_two(data.get(name)) for name in ("noise", "far"))
        return Seen(str(data["modality"]), spacing, str(data["directions"]), noise, far)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); delete it, medjax can do without"
        ) from error


def _two(numbers: Any) -> tuple[float, float] | None:
    return None if numbers is None else (float(numbers[0]), float(numbers[1]))
