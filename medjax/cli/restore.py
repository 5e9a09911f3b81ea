"""medjax restore: a trained run on files of the user's own."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from medjax.cli.common import bar, parse, writable
from medjax.errors import UserError

if TYPE_CHECKING:
    from medjax.restore import Restore as Spread
    from medjax.trained import Trained

# Words added to the output's name.
DISAGREEMENT, UNCERTAINTY = "disagreement", "uncertainty"


@dataclasses.dataclass(frozen=True)
class Restore:
    """Restores scans with a trained run. Geometry, units and identity are kept.

    DICOM results are marked DERIVED with new instance UIDs; the input is never touched.

    A network that learned from volumes on one grid (mri_t1: 2 mm, turned alike) is given the
    volume on that grid, and what it changes there is added to the file's own voxels: detail finer
    than the grid stays as it was. Pixels or voxels of a size that it never saw are warned about.
    What makes a result less certain is also written into the file's description. Of a colour
    fundus photograph the green channel is restored, the one that the network learned from.

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
        does not say what is there. Of pictures, white is an eighth of black to white. 0 writes
        none.
      uncertainty: where the method says how far off it may be (ldct_uncertainty), also writes the
        standard deviation of the error, in the scan's unit, as NAME-uncertainty. Of pictures,
        white is an eighth of black to white.
      window: the values that a picture's black and white stand for, e.g. -160 240 (HU): of the
        input if that is a picture, else of the output.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    input: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="INPUT")]
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    experiment: Annotated[Path | None, tyro.conf.arg(metavar="FILE.py")] = None
    setting: str = "cpu"
    modality: Annotated[str | None, tyro.conf.arg(metavar="CODE")] = None
    draws: int = 0
    uncertainty: bool = False
    window: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None


def run(args: Sequence[str]) -> int:
    chosen = parse(Restore, args, "medjax restore")
    # What is wrong with the words themselves is said before anything heavy is loaded.
    if not chosen.input.exists():
        raise UserError(f"{chosen.input}: no such file or folder; check the path")
    if chosen.draws == 1 or chosen.draws < 0:
        raise UserError(f"--draws {chosen.draws}: a spread takes 2 restorations or more")
    maps = ((DISAGREEMENT, chosen.draws), (UNCERTAINTY, chosen.uncertainty))
    beside = (_beside(chosen.output, word) for word, wanted in maps if wanted)
    for target in (chosen.output, *beside):
        if target.exists() or target.is_symlink():
            raise UserError(
                f"{target}: exists already; name another output, nothing was overwritten"
            )
        writable(target)
    from medjax import experiment
    from medjax.restore import restore_file
    from medjax.trained import open_run

    given = chosen.experiment
    trained = open_run(chosen.run, given and experiment.load(given, chosen.setting))
    _able(trained, chosen)
    with bar("restoring") as progress:
        written = restore_file(
            trained.restore,
            trained.experiment.task,
            chosen.input,
            chosen.output,
            description=f"{trained.experiment.method.label} {trained.experiment.name}",
            modality=chosen.modality and chosen.modality.upper(),
            window=chosen.window,
            seen=trained.seen,
            progress=progress,
        )
    said = f"wrote {chosen.output} ({len(written)} {'file' if len(written) == 1 else 'files'})\n"
    if chosen.draws:
        said += _disagreement(trained, chosen)
    if chosen.uncertainty:
        said += _uncertainty(trained, chosen)
    sys.stdout.write(
        f"{said}A restored image can mislead: research use only, not for diagnosis.\n"
        "next: compare it with the input in your viewer, at the same window\n"
    )
    return 0


def _able(trained: "Trained", chosen: Restore) -> None:
    """Raises UserError where the run cannot make a map that is asked for."""
    label = trained.experiment.method.label
    if chosen.draws and trained.draw is None:
        raise UserError(
            f"--draws: {label} restores in one way only; "
            "train a conditional VAE (medjax train fundus_vae) for draws"
        )
    if chosen.uncertainty and trained.spread is None:
        other = f"--draws 16 maps where {label} disagrees with itself; " if trained.draw else ""
        raise UserError(
            f"--uncertainty: {label} does not say how far off it may be; {other}"
            "train a method Heteroscedastic (medjax train ldct_uncertainty) for it"
        )


def _disagreement(trained: "Trained", chosen: Restore) -> str:
    from medjax.uncertainty import disagreement

    draw, count = trained.draw, chosen.draws
    assert draw is not None
    target = _beside(chosen.output, DISAGREEMENT)
    what = f"disagreement of {count} draws"
    _map(lambda values: disagreement(draw, values, count), trained, chosen, target, what)
    return f"wrote {target}: where {count} restorations disagree\n"


def _uncertainty(trained: "Trained", chosen: Restore) -> str:
    assert trained.spread is not None
    target = _beside(chosen.output, UNCERTAINTY)
    _map(trained.spread, trained, chosen, target, "standard deviation of the error")
    unit = trained.experiment.task.unit
    told = (
        f"as the network says it; medjax evaluate {chosen.run} compares it with true errors"
        if trained.stretch is None
        else f"{chosen.run}/report.html compares it with true errors"
    )
    return f"wrote {target}: standard deviation of the error{unit and f' in {unit}'}, {told}\n"


def _map(spread: "Spread", trained: "Trained", chosen: Restore, target: Path, what: str) -> None:
    from medjax.restore import spread_file

    with bar("mapping") as progress:
        spread_file(
            spread,
            trained.experiment.task,
            chosen.input,
            target,
            description=f"{what}, {trained.experiment.name}",
            modality=chosen.modality and chosen.modality.upper(),
            window=chosen.window,
            seen=trained.seen,
            progress=progress,
        )


def _beside(output: Path, word: str) -> Path:
    name, dot, ending = output.name.partition(".")
    return output.with_name(f"{name}-{word}{dot}{ending}")
