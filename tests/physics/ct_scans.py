"""Analytic scans as the reader of raw projections would return them, without files."""

import sys
from pathlib import Path

import numpy as np

from medjax.io.projections import Detector, Projections

sys.path.append(str(Path(__file__).parents[1] / "io"))
import ctpd_samples as samples

SCANNER = samples.Scanner(rows=10, columns=124, row_mm=3.6, column_mm=3.6, central=(62.75, 5.5))


def scan(
    phantom: tuple, path: samples.Trajectory, scanner: samples.Scanner = SCANNER
) -> Projections:
    """What the reader makes of the files of such a scan."""
    s = scanner
    return Projections(
        line_integrals=samples.line_integrals(phantom, s, path).astype(np.float32),
        angle=path.phi + path.shift[:, 0],
        z_mm=path.z + path.shift[:, 1],
        radius_mm=s.rho + path.shift[:, 2],
        centre_angle=path.phi,
        centre_z_mm=path.z,
        centre_radius_mm=np.full(len(path.phi), s.rho),
        detector=Detector(
            s.shape,  # pyright: ignore
            s.rows,
            s.columns,
            s.row_mm,
            s.column_mm,
            s.d0,
            s.central[0] - 1,
            s.central[1] - 1,
        ),
        instance=np.arange(1, len(path.phi) + 1),
        helical=bool(np.ptp(path.z)),
        focal_spot=path.mode,
        mu_water=samples.MU_WATER,
        tube_current_ma=None,
        photons=None,
        patient_position="HFS",
        views_per_turn=path.turn,
        corrections={},
        problems=(),
        source=Path("scan"),
    )
