"""What DDANet is to show at a quarter dose, decided by the numbers and printed either way."""

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.ldct.clinical import COLUMNS, lesion_difference, sensitivity_difference
from benchmarks.ldct.peers import REDCNN, SAME_SIZE
from benchmarks.ldct.rows import Judged, mean_clinical, values_of
from benchmarks.ldct.suite import ALONE, DDANET, LOWEST, TWIN
from benchmarks.restoration import show
from benchmarks.restoration.suites import Claim
from medjax.metrics.bootstrap import Interval
from medjax.report.table import DASH

DOSE = 0.25
INPUT_NOISE_HU = 28.0
OTHER_INPUT = f" (the claim is about an input near {INPUT_NOISE_HU:g} HU; --photons sets it)"
MOST_NOISE_HU = 12.0
LEAST_MTF50 = 0.95
LEAST_SENSITIVITY = 0.98
# With measured projections, where slices are scanned by its own scanner, and with the image alone.
ROWS = (DDANET, DDANET + ALONE, LOWEST, LOWEST + ALONE)


def settled(rows: Sequence[Judged], low: Judged, full: Judged) -> list[str]:
    """One sentence a claim; those of DDANet's rows only, none where it was not measured."""
    sentences = []
    for name in ROWS:
        own = [row for row in rows if row.contender.name == name]
        if own:
            sentences += [
                _noise(name, own, low),
                *(_sharpness(name, own, full, key) for key in ("mtf50_low", "mtf50_high")),
                _lesions(name, own, low, full),
                _nodules(name, own, full),
            ]
            sentences += _above(name, TWIN, "", rows)
            for peer in (REDCNN, SAME_SIZE):
                sentences += _above(name, peer, " at equal training time", rows)
    return sentences


def mean_noise(own: Sequence[Judged]) -> float:
    """HU in flat tissue over all probes and seeds; NaN where there is none."""
    noise = [value.values["noise_hu"] for value in values_of(own)]
    measured = [hu for hu in noise if math.isfinite(hu)]
    return float(np.mean(measured)) if measured else math.nan


def _noise(name: str, own: Sequence[Judged], low: Judged) -> str:
    noise, before = mean_noise(own), mean_noise([low])
    said = (
        f"{name}, noise {noise:.1f} HU, the input's {before:.1f} HU; at most {MOST_NOISE_HU:g} HU"
    )
    verdict = _verdict(noise, noise <= MOST_NOISE_HU)
    # An input that is quiet already makes the claim an easy one.
    near = abs(before / INPUT_NOISE_HU - 1) <= 0.2
    return f"{said}: {verdict}{'' if near else OTHER_INPUT}"


def _sharpness(name: str, own: Sequence[Judged], full: Judged, key: str) -> str:
    title = next(c.title for c in COLUMNS if c.key == key)
    share = _share(own, full, key)
    said = f"{name}, {title} {_percent(share)} of the full dose's; at least {LEAST_MTF50:.0%}"
    return f"{said}: {_verdict(share, share >= LEAST_MTF50)}"


def _lesions(name: str, own: Sequence[Judged], low: Judged, full: Judged) -> str:
    found = [lesion_difference(row.measured, low.measured) for row in own]
    mean = float(np.mean([interval.mean for interval in found]))
    said = (
        f"{name}, d' {_percent(_share(own, full, 'dprime'))} of the full dose's, minus the input's "
        f"{mean:+.2f} {_each(found)}; not below 0"
    )
    return f"{said}: {_verdict(mean, mean >= 0)}{_crosses(found)}"


def _nodules(name: str, own: Sequence[Judged], full: Judged) -> str:
    share = _share(own, full, "sensitivity")
    found = [sensitivity_difference(row.measured, full.measured) for row in own]
    said = (
        f"{name}, nodule sensitivity {_percent(share)} of the full dose's, less it {_each(found)}; "
        f"at least {LEAST_SENSITIVITY:.0%}"
    )
    return f"{said}: {_verdict(share, share >= LEAST_SENSITIVITY)}"


def _above(name: str, other: str, condition: str, rows: Sequence[Judged]) -> list[str]:
    """Whether the PSNR is above another row's; nothing where that was not measured."""
    found = show.settle(Claim(name, other, "psnr"), values_of(rows))
    if found is None:
        return []
    difference = found.difference
    said = (
        f"{name} minus {other}{condition}, PSNR {difference.mean:+.2f} dB {_each([difference])} "
        f"over {difference.cases} pairs; above 0"
    )
    verdict = _verdict(difference.mean, difference.mean > 0)
    return [f"{said}: {verdict}{_crosses([difference])}"]


def _share(own: Sequence[Judged], full: Judged, key: str) -> float:
    """Of the full dose's; NaN where either has none."""
    ours, theirs = (mean_clinical(rows, full)[key] for rows in (own, [full]))
    return math.nan if ours is None or not theirs else ours / theirs


def _verdict(value: float, holds: bool) -> str:
    if math.isnan(value):
        return "WAS NOT MEASURED"
    return "HOLDS" if holds else "DOES NOT HOLD"


def _percent(share: float) -> str:
    return DASH if math.isnan(share) else f"{share:.1%}"


def _each(found: Sequence[Interval]) -> str:
    """The interval of each seed."""
    return " ".join(f"[{interval.low:+.2f}, {interval.high:+.2f}]" for interval in found)


def _crosses(found: Sequence[Interval]) -> str:
    crosses = any(not (interval.low > 0 or interval.high < 0) for interval in found)
    return " in the mean, an interval crosses zero" if crosses else ""
