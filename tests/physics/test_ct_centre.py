"""The central column is found where it was simulated, whatever the files say."""

import sys
from pathlib import Path

import pytest

from medjax.errors import UserError
from medjax.physics.ct_centre import measure_central_column

sys.path.append(str(Path(__file__).parents[1] / "io"))
sys.path.append(str(Path(__file__).parent))
import ctpd_samples as samples
from ct_scans import SCANNER, scan


@pytest.mark.parametrize("error", [-1.5, 0.0, 0.6])
@pytest.mark.parametrize("mode", ["AXIAL", "FFSNONE", "FFSXYZ"])
def test_the_true_column_is_found(mode: str, error: float) -> None:
    if mode == "AXIAL":
        path = samples.trajectory(120, turn=120)
    else:
        path = samples.trajectory(480, turn=240, feed=10.0, mode=mode)
    found = scan(samples.PHANTOM, path)
    true = SCANNER.central[0] - 1
    wrong = found.with_central_column(true + error)
    assert measure_central_column(wrong, 2.0) == pytest.approx(true, abs=0.1)


def test_data_of_another_geometry_are_refused() -> None:
    found = scan(samples.PHANTOM, samples.trajectory(120, turn=120))
    with pytest.raises(UserError, match="do not fit their geometry"):
        measure_central_column(found.with_central_column(50.0), 0.0)
    with pytest.raises(UserError, match="no ray in the plane"):
        measure_central_column(found, 60.0)
