"""Recipes: datasets that medjax knows how to make, the first time they are asked for."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medjax.data.builder import DatasetInfo, Record, Shard, versions, write_dataset
from medjax.errors import UserError

DATA_VARIABLE = "MEDJAX_DATA"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A dataset and how to make it.

    Attributes:
      info: name, version, licence, source, modality, unit and dims.
      shards: the shards of each split, from files that are there already; raises UserError that
        says what to install or to prepare where they are not.
      local: made from the user's own folder, so a dataset that the user prepared under the same
        name takes its place, whatever its version.
    """

    info: DatasetInfo
    shards: Callable[[], Mapping[str, Sequence[Shard]]]
    local: bool = False

    def ready(self, home: Path | None = None) -> bool:
        """Whether the dataset lies on disk."""
        found = versions(self.info.name, home)
        return any(self.local or f.name == self.info.version for f in found)

    def prepare(self, home: Path | None = None) -> None:
        """Writes the dataset unless it lies there.

        Raises:
          UserError: its source is missing.
        """
        if self.ready(home):
            return
        try:
            write_dataset(self.info, self.shards(), home)
        except OSError:
            # Another process of the same run may have been first to put the folder in place.
            if not self.ready(home):
                raise


def data_folder(name: str, dataset: str, dims: int) -> Path:
    """The folder `name` below `$MEDJAX_DATA`.

    Raises:
      UserError: it is not there; the command that makes `dataset` of other scans is named.
    """
    root = os.environ.get(DATA_VARIABLE, "")
    folder = Path(root).expanduser() / name
    if not root or not folder.is_dir():
        raise UserError(
            f"dataset {dataset} is not there: make it of scans of your own with "
            f"`medjax data prepare FOLDER --name {dataset} --dims {dims}`, or let {DATA_VARIABLE} "
            f"name a folder that holds {name}"
        )
    return folder


def record_of(
    info: DatasetInfo,
    image: Float[np.ndarray, "*space"],
    case: str,
    *,
    subject: str | None = None,
    spacing: Sequence[float] | None = None,
) -> Record:
    """A record of the dataset that `info` describes.

    Args:
      info: tells modality and unit.
      image: [*space] in that unit.
      case: what it shows, without patient data.
      subject: whom it shows; by default nobody else's case does.
      spacing: as in `Record`; None where it is not known.
    """
    steps = (np.nan,) * image.ndim if spacing is None else spacing
    return {
        "image": np.ascontiguousarray(image, np.float32),
        "spacing": np.asarray(steps, np.float32),
        "case": case,
        "subject": case if subject is None else subject,
        "modality": info.modality,
        "unit": info.unit,
        "index": 0,
    }
