"""The plot of a value against a parameter."""

import re

import pytest

from medjax.sweep.scatter import Point, svg


def dots(drawing: str) -> list[tuple[float, float]]:
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)
    return [(float(x), float(y)) for x, y in found]


def test_factors_lie_apart_alike_and_more_is_higher() -> None:
    points = [Point("0.001", 1.0, "a"), Point("0.01", 3.0, "b", best=True), Point("0.1", 2.0, "c")]
    drawing = svg("PSNR", "weight", points)
    (xa, ya), (xb, yb), (xc, yc) = dots(drawing)
    assert xb - xa == pytest.approx(xc - xb, abs=0.2)
    # Downwards on the screen is less.
    assert yb < yc < ya and ya - yc == pytest.approx(yc - yb, abs=0.2)
    assert drawing.count("var(--best)") == 1 and ">0.001</text>" in drawing


def test_near_numbers_lie_on_a_linear_scale() -> None:
    (xa, _), (xb, _), (xc, _) = dots(svg("y", "x", [Point(v, 1.0, "") for v in (1, 2, 4)]))
    assert xc - xb == pytest.approx(2 * (xb - xa), abs=0.2)


def test_words_stand_side_by_side_and_are_escaped() -> None:
    drawing = svg("y", "kind", [Point("<a>", 1, ""), Point("b", 2, ""), Point("<a>", 3, "")])
    (xa, _), (xb, _), (xc, _) = dots(drawing)
    assert xa == xc < xb and "&lt;a&gt;" in drawing and "<a>" not in drawing
    assert svg("y", "x", []) == ""
