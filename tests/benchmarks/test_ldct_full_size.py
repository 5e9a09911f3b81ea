"""The clinical measures on whole slices of the real chest scan: minutes of projections."""

import numpy as np
import pytest

from benchmarks.ldct.clinical import columns, lesion_difference, measure
from benchmarks.ldct.detector import train_detector
from benchmarks.ldct.probes import make_probes, scan_probes
from benchmarks.ldct.scanner import scan_slices
from medjax.io import read_scan

VIEWS = 360


@pytest.mark.slow
def test_a_quarter_of_the_dose_costs_lesions_and_nodules_but_no_sharpness(medjax_data):
    scan = read_scan(medjax_data / "ct_chest_kernel_pairs" / "Lung_Dx-A0001_B.nii.gz", "CT")
    volume, spacing = scan.array, scan.spacing
    assert spacing is not None
    learnt = volume[:14]
    full_dose = scan_slices(learnt, spacing[1], 1.0, 1, views=VIEWS)
    detector = train_detector(learnt, full_dose, spacing, 5)
    probes = [probe for z in (17, 21, 25) for probe in make_probes(volume[z], spacing, z, 2)]
    full, quarter = (
        measure(probes, *scan_probes(probes, dose, 2, views=VIEWS), detector)
        for dose in (1.0, 0.25)
    )
    reference, low = columns(full, full), columns(quarter, full)
    assert reference["sensitivity"] >= 0.85
    assert low["sensitivity"] <= reference["sensitivity"]
    assert lesion_difference(quarter, full).high < 0
    assert low["nps_distance"] < 0.15
    for key in ("mtf50_low", "mtf50_high"):
        assert low[key] == pytest.approx(reference[key], rel=0.03)
    assert np.isfinite(list(low.values())).all()
