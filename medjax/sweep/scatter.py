"""One value against one parameter as a small inline SVG; the page's style gives the colours."""

import dataclasses
import html
import math
from collections.abc import Sequence

from medjax.report.plot import nice

_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 26, 34


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting: the parameter as typed or drawn, the value, its name, whether it is the best."""

    x: str | float | int
    y: float
    name: str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values along a line of the picture, between `start` and `end`, with labelled ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def svg(title: str, parameter: str, points: Sequence[Point]) -> str:
    """Points over the parameter's values; "" where there are none.

    Numbers lie on a scale, logarithmic where they are positive and span a factor of 30 or more;
    words stand side by side.
    """
    if not points:
        return ""
    numbers = [_number(point.x) for point in points]
    y_axis = linear([point.y for point in points], _HEIGHT - _BOTTOM, _TOP)
    if any(number is None for number in numbers):
        words = list(dict.fromkeys(str(point.x) for point in points))
        xs = [float(words.index(str(point.x))) for point in points]
        x_axis = side_by_side(words, _LEFT, _WIDTH - _RIGHT)
    else:
        xs = [number for number in numbers if number is not None]
        spread = min(xs) > 0 and max(xs) / min(xs) >= 30
        x_axis = (logarithmic if spread else linear)(xs, _LEFT + 12, _WIDTH - _RIGHT)
    return "".join(
        [
            f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{html.escape(_summary(title, parameter, points))}</title>",
            f'<text class="plot-title" x="{_LEFT}" y="15">{html.escape(title)}</text>',
            *_grid(x_axis, y_axis),
            _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, parameter, "middle"),
            *(_dot(x_axis(x), y_axis(p.y), p) for x, p in zip(xs, points, strict=True)),
            "</svg>",
        ]
    )


def linear(values: Sequence[float], start: float, end: float) -> Axis:
    """A linear axis with round ticks."""
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    step = nice((high - low) / 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((k * step, f"{k * step:.5g}") for k in range(first, last + 1))
    return Axis(low, high, start, end, False, ticks)


def logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis with powers of ten as ticks."""
    low, high = min(values), max(values)
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    shown = list(powers)[:: max(1, len(powers) // 5)]
    return Axis(low, high, start, end, True, tuple((10.0**k, f"{10.0**k:g}") for k in shown))


def side_by_side(words: Sequence[str], start: float, end: float) -> Axis:
    """An axis of words; the i-th lies at i."""
    ticks = tuple((float(i), word) for i, word in enumerate(words))
    return Axis(-0.5, len(words) - 0.5, start, end, False, ticks)


def _number(value: str | float | int) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    parts = []
    for value, label in y_axis.ticks:
        y = y_axis(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 3.5, label, "end"))
    parts += [_text(x_axis(v), _HEIGHT - _BOTTOM + 15, s, "middle") for v, s in x_axis.ticks]
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _dot(x: float, y: float, point: Point) -> str:
    colour, radius = ("--best", 6) if point.best else ("--line0", 4)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill: var({colour})">'
        f"<title>{html.escape(point.name)}</title></circle>"
    )


def _summary(title: str, parameter: str, points: Sequence[Point]) -> str:
    said = "; ".join(f"{point.x}: {point.y:.5g}" for point in points[:20])
    return f"{title} against {parameter}. {said}"
