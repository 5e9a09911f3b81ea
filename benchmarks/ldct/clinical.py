"""The clinical columns of one row: texture of the noise, sharpness, detectability, nodules found.

Give a method both versions of every probe (`benchmarks.ldct.probes`), then `measure` what it gave
back; `columns` sets that beside the full dose.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from benchmarks.ldct.detector import Detector, detect
from benchmarks.ldct.probes import Probe, ProbeDesign
from medjax.metrics.bootstrap import Interval, difference_interval
from medjax.metrics.column import Column
from medjax.metrics.ct_noise_spectrum import (
    NoiseSpectrum,
    difference_noise,
    mean_frequency,
    noise_power_spectrum,
    regions_of_interest,
    spectrum_distance,
)
from medjax.metrics.ct_observer import (
    Channels,
    Detectability,
    detectability,
    dog_channels,
    regions_at,
)
from medjax.metrics.ct_observer_difference import detectability_difference
from medjax.metrics.ct_resolution import DiscResolution, disc_resolution
from medjax.metrics.detection import (
    Candidates,
    Lesions,
    froc,
    operating_point,
    sensitivity_at,
    threshold_at,
)

COLUMNS = (
    Column("nps_distance", "NPS distance", "", "low", 3),
    Column("nps_mean", "NPS mean frequency", "1/mm", "reference", 3),
    Column("mtf50_low", "MTF50 low contrast", "1/mm", "reference", 3),
    Column("mtf50_high", "MTF50 high contrast", "1/mm", "reference", 3),
    Column("dprime", "lesion d'", "", "high", 2),
    Column("sensitivity", "nodule sensitivity", "", "high", 3),
    Column("f1", "nodule F1", "", "high", 3),
)
# False positives a slice at which sensitivity is read and the threshold for F1 is set.
FALSE_POSITIVES = 1.0
# A mark this near to a small nodule's centre has found it: two pixels and a bit.
LEAST_MM = 2.5
NOISE_REGION = 32


class Measured(NamedTuple):
    """What the probes tell about one method at one dose.

    Attributes:
      noise: normalised spectrum (mm², its integral is about 1) of what differs between two
        realisations of the same slice; None where no region fits into the body or there is one
        repeat only.
      low: sharpness at low contrast; None where no slice had room for the rod.
      high: sharpness at high contrast, likewise.
      lesions: detectability of the faint lesions.
      present: regions with a lesion, HU.
      absent: regions without; with those of another method for `lesion_difference`.
      searched: the detector's marks and the nodules, slice by slice.
    """

    noise: NoiseSpectrum | None
    low: DiscResolution | None
    high: DiscResolution | None
    lesions: Detectability
    present: Float[np.ndarray, "region y x"]
    absent: Float[np.ndarray, "region y x"]
    searched: list[tuple[Candidates, Lesions]]


def measure(
    probes: Sequence[Probe],
    marked: Shaped[np.ndarray, "probe y x"],
    plain: Shaped[np.ndarray, "probe y x"],
    detector: Detector,
    design: ProbeDesign | None = None,
) -> Measured:
    """All clinical measures of one method.

    Args:
      probes: from `make_probes`, slice after slice, the repeats of a slice one after the other.
      marked: their marked versions, scanned and restored, HU.
      plain: their plain versions, with the same noise.
      detector: from `benchmarks.ldct.detector.train_detector`.
      design: the probes'.
    """
    design = ProbeDesign() if design is None else design
    present, absent = _lesions(probes, marked, plain, design)
    return Measured(
        _noise(probes, plain),
        _sharpness(probes, marked, plain, design, 0),
        _sharpness(probes, marked, plain, design, 1),
        detectability(present, absent, _channels(design.region)),
        present,
        absent,
        [
            (detect(detector, image, probe.lungs, probe.spacing), probe.nodules)
            for probe, image in zip(probes, marked, strict=True)
        ],
    )


def columns(measured: Measured, full: Measured) -> dict[str, float]:
    """Values of `COLUMNS`; NaN where there was nothing to measure.

    Args:
      measured: of the method.
      full: of the full dose: its noise is the right texture, and the threshold at which its
        detector raises `FALSE_POSITIVES` a slice is the one at which F1 is read.
    """
    threshold = threshold_at(froc(full.searched, least_mm=LEAST_MM), FALSE_POSITIVES)
    point = operating_point(measured.searched, threshold, least_mm=LEAST_MM)
    curve = froc(measured.searched, least_mm=LEAST_MM)
    nan = float("nan")
    noise, right = measured.noise, full.noise
    return {
        "nps_distance": spectrum_distance(noise, right) if noise and right else nan,
        "nps_mean": mean_frequency(noise) if noise else nan,
        "mtf50_low": measured.low.mtf50 if measured.low else nan,
        "mtf50_high": measured.high.mtf50 if measured.high else nan,
        "dprime": measured.lesions.dprime,
        "sensitivity": sensitivity_at(curve, FALSE_POSITIVES),
        "f1": point.f1,
    }


def lesion_difference(measured: Measured, baseline: Measured) -> Interval:
    """d' of a method less that of another on the same probes, with its 95 % interval.

    Raises:
      ValueError: the two were not measured on the same probes.
    """
    return detectability_difference(
        measured.present,
        measured.absent,
        baseline.present,
        baseline.absent,
        _channels(measured.present.shape[-1]),
    )


def sensitivity_difference(measured: Measured, full: Measured) -> Interval:
    """Share of the nodules found less that at the full dose, with its 95 % bootstrap interval.

    Both at `FALSE_POSITIVES` a slice, each at its own threshold; whole slices are drawn.
    """
    points = [
        operating_point(
            row.searched,
            threshold_at(froc(row.searched, least_mm=LEAST_MM), FALSE_POSITIVES),
            least_mm=LEAST_MM,
        )
        for row in (measured, full)
    ]
    ours, theirs = (point.found.astype(float) for point in points)
    return difference_interval(ours, theirs, groups=points[0].image.tolist())


def _noise(probes: Sequence[Probe], plain: np.ndarray) -> NoiseSpectrum | None:
    """From neighbouring repeats of the same slice: 0 and 1, 2 and 3, and so on.

    Each region is divided by its own standard deviation, or the streaks behind the shoulders would
    drown all others.
    """
    regions = [
        regions_of_interest(difference_noise(one, other), probe.body, NOISE_REGION)
        for probe, following, one, other in zip(probes, probes[1:], plain, plain[1:], strict=False)
        if probe.repeat % 2 == 0 and following.repeat == probe.repeat + 1
    ]
    found = np.concatenate(regions) if regions else np.zeros((0, 1, 1))
    deviation = found.std(axis=(1, 2), keepdims=True)
    noisy = deviation.ravel() > 0
    if not noisy.any():
        return None
    return noise_power_spectrum(found[noisy] / deviation[noisy], probes[0].spacing)


def _sharpness(
    probes: Sequence[Probe],
    marked: np.ndarray,
    plain: np.ndarray,
    design: ProbeDesign,
    which: int,
) -> DiscResolution | None:
    there = [i for i, probe in enumerate(probes) if probe.rods_mm[which] is not None]
    if not there:
        return None
    return disc_resolution(
        np.asarray(marked)[there],
        np.array([probes[i].rods_mm[which] for i in there]),
        design.rod_mm / 2,
        probes[0].spacing,
        without=np.asarray(plain)[there],
        reach_mm=design.reach_mm,
        resamples=100,
    )


def _lesions(
    probes: Sequence[Probe], marked: np.ndarray, plain: np.ndarray, design: ProbeDesign
) -> tuple[Float[np.ndarray, "region y x"], Float[np.ndarray, "region y x"]]:
    """Regions with a lesion and without.

    Even repeats give their marked version, odd ones their plain one: no noise is used twice.
    """
    present, absent = [], []
    for probe, with_first, with_second in zip(probes, marked, plain, strict=True):
        image, there, gone = (
            (with_first, probe.first, probe.second)
            if probe.repeat % 2 == 0
            else (with_second, probe.second, probe.first)
        )
        present.append(regions_at(image, there, design.region))
        absent.append(regions_at(image, gone, design.region))
    return np.concatenate(present), np.concatenate(absent)


def _channels(size: int) -> Channels:
    """Six of the dense bands: lower ones do not fit into the region."""
    return dog_channels(size, count=6, first=0.015)
