"""How far predicted deviations can be trusted: stretched on some scans, judged on others."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from medjax.errors import UserError
from medjax.io.common import atomic
from medjax.losses.likelihood import Law
from medjax.metrics import calibration
from medjax.tasks.base import Case, Record, Task
from medjax.uncertainty import tells_errors

CALIBRATION = "calibration.json"
# A table of results has these beside the curve.
SHOWN = (0.68, 0.9, 0.95)
Samples = Float[np.ndarray, " sample"]
Restore = Callable[[Any], Float32[np.ndarray, "*space"]]


class Errors(NamedTuple):
    """Errors and predicted standard deviations of some scans, sample by sample, in their unit."""

    error: Samples
    std: Samples


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Predicted standard deviations beside the errors on held-out scans.

    Attributes:
      law: how errors are said to scatter.
      unit: of the scans' values.
      stretch: the factor on what the network said, found on `found_on`.
      found_on: which scans, in words.
      levels: nominal shares of central intervals.
      raw: shares of errors inside them by what the network said.
      observed: the same after stretching.
      shown: those of `SHOWN`, after stretching.
      predicted: root mean square of the stretched standard deviation in bins, least first.
      found: root mean square error in the same bins.
      coverage_error: mean |observed - nominal|.
      normalised_error: mean |predicted - found| / predicted.
      rank_correlation: Spearman's, of standard deviation and absolute error; NaN is None.
    """

    law: Law
    unit: str
    stretch: float
    found_on: str
    levels: tuple[float, ...]
    raw: tuple[float, ...]
    observed: tuple[float, ...]
    shown: tuple[float, ...]
    predicted: tuple[float, ...]
    found: tuple[float, ...]
    coverage_error: float
    normalised_error: float
    rank_correlation: float | None

    @property
    def line(self) -> str:
        """What a user needs to know, in a sentence or two."""
        shares = ", ".join(
            f"{found:.1%} in {p:.0%}" for p, found in zip(SHOWN, self.shown, strict=True)
        )
        rank = "" if self.rank_correlation is None else f"{self.rank_correlation:.2f}"
        return (
            f"predicted spread: errors of held-out samples inside its intervals: {shares}; rank "
            f"correlation with the absolute error {rank or 'unknown'}; stretched by "
            f"{self.stretch:.2f}, found on {self.found_on}"
        )


class Predicted(NamedTuple):
    """A case, its restoration and the standard deviation that was predicted of the error."""

    case: Case
    restored: Float32[np.ndarray, "*space"]
    std: Float32[np.ndarray, "*space"]


def predicted(
    task: Task, records: Sequence[Record], restore: Restore, std: Restore, seed: int
) -> Iterator[Predicted]:
    """The records degraded and restored, one at a time."""
    for number, record in enumerate(records):
        case = task.simulate(record, seed + number)
        yield Predicted(case, restore(case.network_input), std(case.network_input))


def errors_of(task: Task, cases: Iterable[Predicted]) -> Errors:
    """Errors and deviations where the reference lies in the window that is shown, as PSNR's do.

    Samples that cannot be wrong, of a deviation of zero, are left out.
    """
    low, high = task.display
    parts = []
    for case, restored, std in cases:
        counts = (case.reference >= low) & (case.reference <= high) & (std > 0)
        parts.append(Errors((restored - case.reference)[counts], std[counts]))
    return Errors(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def calibrated(judged: Errors, law: Law, unit: str, stretch: float, found_on: str) -> Calibration:
    """The stretched standard deviations beside the errors of other scans than they are from."""
    error, std = judged.error, np.float32(stretch) * judged.std
    observed = calibration.coverage(error, std, law)
    bins = calibration.reliability(error, std)
    rank = tells_errors(std, error)
    return Calibration(
        law=law,
        unit=unit,
        stretch=stretch,
        found_on=found_on,
        levels=calibration.LEVELS,
        raw=calibration.coverage(error, judged.std, law),
        observed=observed,
        shown=calibration.coverage(error, std, law, SHOWN),
        predicted=bins.predicted,
        found=bins.found,
        coverage_error=calibration.coverage_error(observed),
        normalised_error=calibration.normalised_error(bins),
        rank_correlation=rank if np.isfinite(rank) else None,
    )


def keep(folder: Path, stretch: float, step: int) -> None:
    """Writes the factor into the folder of the run whose checkpoint at `step` it belongs to."""
    with atomic(folder / CALIBRATION) as temporary:
        temporary.write_text(json.dumps({"step": step, "stretch": stretch}))


def recall(folder: Path, step: int) -> float | None:
    """What `keep` wrote for that checkpoint; None where it wrote nothing, or for another.

    Raises:
      UserError: the file is damaged.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text())
        return float(data["stretch"]) if int(data["step"]) == step else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); medjax evaluate {folder} writes it "
            "anew"
        ) from error
