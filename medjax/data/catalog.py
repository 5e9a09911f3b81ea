"""The datasets there are: find one by name, open it, describe them all."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from medjax.data import (
    local_ct,
    local_fmri,
    local_mri,
    samples,
    samples_fmri,
    samples_fundus,
    samples_xray,
)
from medjax.data.builder import (
    DatasetInfo,
    Record,
    datasets_folder,
    open_splits,
    read_info,
    versions,
)
from medjax.data.recipes import Recipe
from medjax.errors import UserError

# One a line: bundled with a dependency, or made from the folder that MEDJAX_DATA names.
RECIPES: tuple[Recipe, ...] = (
    samples.RECIPE,
    samples.OTHERS_RECIPE,
    samples_xray.RECIPE,
    samples_fmri.RECIPE,
    samples_fundus.SAMPLE_RECIPE,
    samples_fundus.DRIVE_RECIPE,
    local_ct.RECIPE,
    local_mri.RECIPE,
    *local_fmri.RECIPES,
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset ready to be read.

    Attributes:
      name: of the dataset.
      splits: random access to the records of each split ("train", "test", ...).
      info: licence, source, counts.
    """

    name: str
    splits: Mapping[str, Sequence[Record]]
    info: DatasetInfo

    def split(self, name: str) -> Sequence[Record]:
        """One split's records.

        Raises:
          UserError: there is no such split.
        """
        if name not in self.splits:
            raise UserError(
                f"dataset {self.name} has no split {name!r}, only {', '.join(self.splits)}"
            )
        return self.splits[name]


def load(name: str, home: Path | None = None) -> Dataset:
    """Opens the newest version of a dataset; makes one that has a recipe if it is not there yet.

    Raises:
      UserError: no dataset has that name (the nearest one is named), or a recipe's source is
        missing.
    """
    for recipe in RECIPES:
        if recipe.info.name == name:
            recipe.prepare(home)
    found = versions(name, home)
    if not found:
        raise UserError(_unknown(name, home))
    info = read_info(found[-1])
    return Dataset(name, open_splits(found[-1]), info)


def available(home: Path | None = None) -> tuple[DatasetInfo, ...]:
    """What `load` can open: every prepared dataset, newest versions, and the recipes.

    Recipes are listed, with empty counts, even before their first use makes them.
    """
    root = datasets_folder(home)
    names = sorted(f.name for f in root.iterdir() if f.is_dir()) if root.is_dir() else []
    found = {name: read_info(versions(name, home)[-1]) for name in names if versions(name, home)}
    return tuple({**{r.info.name: r.info for r in RECIPES}, **found}.values())


def _unknown(name: str, home: Path | None) -> str:
    known = [info.name for info in available(home)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)};"
    return f"no dataset {name!r}: {hint} make one with `medjax data prepare FOLDER --name {name}`"
