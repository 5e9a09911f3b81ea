"""Logged metrics to curves, curves to SVG."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from medjax.report.history import Curve, curves, grouped
from medjax.report.plot import nice, svg, thin
from medjax.train.writers import MetricWriter, Row, read_metrics


def test_curves_are_sorted_and_the_last_value_of_a_step_counts():
    rows = [
        Row(20, {"train/l1": 2.0}, 2.0),
        Row(10, {"train/l1": 3.0}, 1.0),
        Row(20, {"train/l1": 1.0, "eval/l1": 5}, 3.0),
    ]
    found = {c.name: c for c in curves(rows)}
    assert set(found) == {"train/l1", "eval/l1"}
    assert found["train/l1"].steps.tolist() == [10, 20]
    assert found["train/l1"].values.tolist() == [3.0, 1.0]
    assert [c.name for c in grouped(curves(rows))["l1"]] == ["train/l1", "eval/l1"]


def test_what_a_run_writes_becomes_curves(tmp_path):
    with MetricWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"l1": 1.0 / step}, 0.1 * step)
    (curve,) = curves(read_metrics(tmp_path))
    assert curve.name == "l1" and curve.steps.tolist() == [1, 2, 3]
    np.testing.assert_allclose(curve.values, [1, 0.5, 1 / 3])


def test_thinning_keeps_spikes_ends_and_gaps():
    values = np.sin(np.arange(10_000) / 50)
    values[4321], values[777] = 99.0, math.nan
    few = thin(Curve("l", np.arange(10_000.0), values))
    assert len(few.steps) < 400
    assert 99.0 in few.values and np.isnan(few.values).any()
    assert few.steps[0] == 0 and few.steps[-1] == 9999


def coordinates(path: str) -> list[tuple[float, float]]:
    pairs = path.replace("M", "L").split("L")[1:]
    return [(float(p.split()[0]), float(p.split()[1])) for p in pairs]


def lines(text: str) -> list[str]:
    root = ET.fromstring(text)
    return [p.get("d", "") for p in root.iter("path") if "line" in (p.get("class") or "")]


def test_svg_draws_values_in_proportion_and_escapes_names():
    steps = np.array([0.0, 10.0, 20.0])
    text = svg("a<b & c", [Curve("a<b & c", steps, np.array([1.0, 2.0, 4.0]))])
    (line,) = lines(text)
    (x0, y0), (x1, y1), (x2, y2) = coordinates(line)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.2) and y0 > y2


def test_svg_is_logarithmic_over_decades_and_breaks_at_nan():
    values = np.array([1.0, 10.0, math.nan, 100.0, 1000.0])
    (line,) = lines(svg("l", [Curve("l", np.arange(5.0), values)]))
    ys = [y for _, y in coordinates(line)]
    np.testing.assert_allclose(np.diff(ys), np.diff(ys)[0], atol=0.11)
    assert line.count("M") == 2


@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0, 0.0], [5.0], [1e-30, 2e-30], [-1e9, 1e9]])
def test_svg_of_awkward_ranges_stays_inside(values):
    found = Curve("l", np.arange(float(len(values))), np.array(values))
    (line,) = lines(svg("l", [found]))
    assert all(0 <= x <= 420 and 0 <= y <= 220 for x, y in coordinates(line))


def test_svg_of_nothing_is_nothing():
    assert svg("l", []) == ""
    assert svg("l", [Curve("l", np.arange(2.0), np.array([math.nan, math.inf]))]) == ""


def test_a_curve_that_diverged_is_still_drawn():
    found = curves([Row(1, {"l1": 1.0}, 0.0), Row(2, {"l1": math.nan}, 0.0)])
    assert "<path" in svg("l1", found)


@pytest.mark.parametrize(
    ("value", "least"), [(0.7, 1), (1, 1), (1.2, 2), (30, 50), (0.0008, 0.001)]
)
def test_nice(value, least):
    assert nice(value) == pytest.approx(least)
