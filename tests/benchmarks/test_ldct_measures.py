"""Probes and the clinical columns, on one lung and the heart of a real chest scan."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.ldct.clinical import (
    COLUMNS,
    columns,
    lesion_difference,
    measure,
    sensitivity_difference,
)
from benchmarks.ldct.detector import train_detector
from benchmarks.ldct.probes import ProbeDesign, make_probes, scan_probes
from benchmarks.ldct.scanner import scan_slices
from medjax.io import read_scan
from medjax.physics.ct import DoseModel
from medjax.physics.lesion_sites import lung_mask

CROP = (slice(130, 338), slice(270, 478))
DESIGN = ProbeDesign(nodules=4)
SCANNER = {"model": DoseModel(photons=6e4, bowtie=None), "views": 180}


@pytest.fixture(scope="module")
def chest(medjax_data):
    scan = read_scan(medjax_data / "ct_chest_kernel_pairs" / "Lung_Dx-A0001_B.nii.gz", "CT")
    volume, spacing = scan.array[::4], scan.spacing
    assert spacing is not None
    return volume[:, *CROP], lung_mask(volume, spacing)[:, *CROP], spacing


def probes_of(chest, slices, repeats=2):
    volume, lungs, spacing = chest
    return [
        probe
        for z in slices
        for probe in make_probes(volume[z], spacing, 10 * z, repeats, DESIGN, lungs[z])
    ]


@pytest.fixture(scope="module")
def judged(chest):
    return probes_of(chest, (0, 1, 2))


@pytest.fixture(scope="module")
def detector(chest):
    volume, lungs, spacing = chest
    scanned = scan_slices(volume[3:], spacing[1], 1.0, 1, **SCANNER)
    return train_detector(
        volume[3:], scanned, spacing, 5, repeats=5, design=DESIGN, lungs=lungs[3:]
    )


@pytest.fixture(scope="module")
def full(judged, detector):
    return measure(judged, *scan_probes(judged, 1.0, 2, **SCANNER), detector)


def test_versions_differ_by_what_is_inserted_and_by_that_alone(judged):
    for probe in judged:
        change = probe.marked - probe.plain
        step = np.array(probe.spacing)
        y, x = np.indices(change.shape)

        def near(centre, radius, step=step, y=y, x=x):
            return np.hypot(y * step[0] - centre[0], x * step[1] - centre[1]) < radius

        lesions = [pixel * step for pixel in (*probe.first, *probe.second)]
        places = [(place, 8.0) for place in lesions]
        places += [(rod, 12.0) for rod in probe.rods_mm if rod is not None]
        places += [(record.centre_mm[1:], record.reach_mm + 5) for record in probe.nodule_records]
        far = ~np.any([near(*place) for place in places], axis=0)
        assert not change[far].any()
        assert all(change[tuple(pixel)] > 20 for pixel in probe.first)
        assert all(change[tuple(pixel)] < -20 for pixel in probe.second)
        low, high = probe.rods_mm
        assert low is None or change[near(low, 8.0)] == pytest.approx(50, abs=1e-3)
        assert high is None or change[near(high, 8.0)] == pytest.approx(900, abs=1e-3)
    assert sum(probe.rods_mm[0] is not None for probe in judged) >= 2
    assert sum(probe.rods_mm[1] is not None for probe in judged) >= 2
    assert sum(len(probe.first) for probe in judged) >= 12


def test_repeats_share_the_plain_slice_and_draw_other_nodules(judged):
    one, other = judged[:2]
    assert (one.plain == other.plain).all()
    assert (one.first == other.first).all()
    assert one.nodule_records != other.nodule_records


def test_both_versions_get_the_same_noise(judged):
    marked, plain = scan_probes(judged[:2], 0.25, 3, **SCANNER)
    clean = judged[0].marked - judged[0].plain
    change = ndimage.gaussian_filter(clean, 1.0)
    flat = ndimage.maximum_filter(np.abs(clean), 25) < 1
    noise = (plain[0] - plain[1])[flat].std()
    assert (marked[0] - plain[0] - change)[flat].std() < 0.3 * noise


def test_dose_and_blur_move_the_columns_as_they_must(judged, detector, full):
    marked, plain = scan_probes(judged, 0.1, 2, **SCANNER)
    low = measure(judged, marked, plain, detector)
    blurred = [ndimage.gaussian_filter(stack, (0, 1.5, 1.5)) for stack in (marked, plain)]
    smooth = measure(judged, *blurred, detector)
    rows = [columns(row, full) for row in (full, low, smooth)]
    for row in rows:
        assert set(row) == {column.key for column in COLUMNS}
        assert np.isfinite(list(row.values())).all()
    reference, noisy, soft = rows
    assert reference["nps_distance"] == 0
    assert noisy["nps_distance"] < 0.2 < soft["nps_distance"]
    assert soft["nps_mean"] < 0.8 * noisy["nps_mean"]
    assert noisy["mtf50_high"] == pytest.approx(reference["mtf50_high"], rel=0.1)
    assert noisy["mtf50_low"] == pytest.approx(reference["mtf50_low"], rel=0.2)
    assert soft["mtf50_low"] < 0.7 * reference["mtf50_low"]
    assert soft["mtf50_high"] < 0.7 * reference["mtf50_high"]
    assert noisy["dprime"] < 0.7 * reference["dprime"]
    assert soft["dprime"] < 0.8 * reference["dprime"]
    assert noisy["sensitivity"] < reference["sensitivity"] - 0.1
    assert noisy["f1"] < reference["f1"]
    gap = lesion_difference(low, full)
    assert gap.mean == pytest.approx(noisy["dprime"] - reference["dprime"])
    assert gap.high < 0
    assert lesion_difference(smooth, low).low < 0.3
    lost = sensitivity_difference(low, full)
    assert lost.mean == pytest.approx(noisy["sensitivity"] - reference["sensitivity"])
    assert lost.low <= lost.mean <= lost.high
