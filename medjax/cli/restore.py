"""medjax restore: a trained run on files of the user's own."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from medjax.cli.common import bar, parse
from medjax.errors import UserError

if TYPE_CHECKING:
    from medjax.run import Trained


@dataclasses.dataclass(frozen=True)
class Restore:
    """Restores scans with a trained run. Geometry, units and identity are kept.

    DICOM results are marked DERIVED with new instance UIDs; the input is never touched.

    Attributes:
      run: a run folder that train made.
      input: a DICOM file or a folder with one series, NIfTI, PNG, TIFF or npz.
      output: the file (or, for a DICOM folder, the folder) to write; must not exist yet.
      modality: of files that do not say (NIfTI, npz): CT means that values are HU.
      experiment: the Python file the run was trained from, where that defines networks, losses
        or tasks of its own; it is run as code, so only a file that you trust.
      setting: cpu or full, of that file.
      draws: where the method can restore at random (a conditional VAE), also writes the standard
        deviation of so many restorations beside the output, as NAME-disagreement: where the scan
        does not say what is there. 0 writes none.
      window: the values that a picture's black and white stand for, e.g. -160 240 (HU): of the
        input if that is a picture, else of the output.
    """

    run: tyro.conf.Positional[Path]
    input: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    experiment: Path | None = None
    setting: str = "cpu"
    modality: str | None = None
    draws: int = 0
    window: tuple[float, float] | None = None


def run(args: Sequence[str]) -> int:
    from medjax import experiment
    from medjax import run as runs
    from medjax.restore import restore_file

    chosen = parse(Restore, args, "medjax restore")
    if not chosen.input.exists():
        raise UserError(f"{chosen.input}: no such file or folder; check the path")
    given = chosen.experiment
    trained = runs.open_run(chosen.run, given and experiment.load(given, chosen.setting))
    if chosen.draws == 1 or chosen.draws < 0:
        raise UserError(f"--draws {chosen.draws}: a spread takes 2 restorations or more")
    if chosen.draws and trained.draw is None:
        raise UserError(
            f"--draws: {trained.experiment.method.label} restores in one way only; "
            "train a conditional VAE (medjax train fundus_vae) for draws"
        )
    if chosen.draws and _beside(chosen.output).exists():
        raise UserError(f"{_beside(chosen.output)}: exists already; name another output")
    with bar("restoring") as progress:
        written = restore_file(
            trained.restore,
            trained.experiment.task,
            chosen.input,
            chosen.output,
            description=f"{trained.experiment.method.label} {trained.experiment.name}",
            modality=chosen.modality,
            window=chosen.window,
            progress=progress,
        )
    if chosen.draws:
        written = (*written, *_disagreement(trained, chosen))
    sys.stdout.write(
        f"wrote {chosen.output} ({len(written)} {'file' if len(written) == 1 else 'files'})\n"
        "A restored image can mislead: research use only, not for diagnosis.\n"
        "next: compare it with the input in your viewer, at the same window\n"
    )
    return 0


def _disagreement(trained: "Trained", chosen: Restore) -> tuple[Path, ...]:
    from medjax.restore import disagreement_file

    assert trained.draw is not None
    with bar("drawing") as progress:
        return disagreement_file(
            trained.draw,
            trained.experiment.task,
            chosen.input,
            _beside(chosen.output),
            count=chosen.draws,
            description=f"disagreement of {chosen.draws} draws, {trained.experiment.name}",
            modality=chosen.modality,
            window=chosen.window,
            progress=progress,
        )


def _beside(output: Path) -> Path:
    name, dot, ending = output.name.partition(".")
    return output.with_name(f"{name}-disagreement{dot}{ending}")
