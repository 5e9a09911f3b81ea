"""Curves as a small inline SVG, without matplotlib; the page's style sheet gives the colours."""

import dataclasses
import html
import math
from collections.abc import Sequence

import numpy as np

from medjax.report.history import Curve

_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 26, 34


def thin(curve: Curve, limit: int = 300) -> Curve:
    """At most about `limit` points: the least and the greatest of each block, so spikes stay."""
    n = len(curve.steps)
    if n <= limit:
        return curve
    keep: set[int] = {0, n - 1}
    for block in np.array_split(np.arange(n), limit // 2):
        values = curve.values[block]
        if np.isfinite(values).any():
            keep |= {int(block[np.nanargmin(values)]), int(block[np.nanargmax(values)])}
        keep |= {int(i) for i in block[~np.isfinite(values)][:1]}
    at = np.array(sorted(keep))
    return Curve(curve.name, curve.steps[at], curve.values[at])


def svg(title: str, found: Sequence[Curve], along: str = "training steps") -> str:
    """An inline SVG of curves that share their axes; colours come from the page's style.

    `along` is what the curves' steps are, written under their axis.

    The y axis is logarithmic where all values are positive and span more than a factor 100.
    Values that are not finite leave a gap. Returns "" where there is nothing to draw.
    """
    drawn = [thin(c) for c in found]
    finite = np.concatenate([c.values[np.isfinite(c.values)] for c in drawn] or [np.zeros(0)])
    if finite.size == 0:
        return ""
    log = finite.min() > 0 and finite.max() / finite.min() > 100
    x_axis = _Axis.fit(np.concatenate([c.steps for c in drawn]), _LEFT, _WIDTH - _RIGHT, False)
    top = _TOP + 13 * (len(drawn) - 1)
    y_axis = _Axis.fit(finite, _HEIGHT - _BOTTOM, top, log)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{html.escape(_summary(title, found, along))}</title>",
        f'<text class="plot-title" x="{_LEFT}" y="15">{html.escape(title)}'
        f"{' (log)' if log else ''}</text>",
    ]
    for tick in y_axis.ticks:
        y = y_axis(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>'
        )
    for tick in x_axis.ticks:
        x = x_axis(tick)
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">'
            f"{_tick(tick)}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(along)}</text>'
    )
    for i, curve in enumerate(drawn):
        parts.append(f'<path class="line line{i % 4}" d="{_path(curve, x_axis, y_axis)}"/>')
        if len(drawn) > 1:
            parts.append(
                f'<text class="key line{i % 4}" x="{_WIDTH - _RIGHT}" y="{15 + 13 * i}"'
                f' text-anchor="end">{html.escape(curve.name)}</text>'
            )
    return "".join([*parts, "</svg>"])


@dataclasses.dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def fit(cls, values: np.ndarray, start: float, end: float, log: bool) -> "_Axis":
        low, high = float(values.min()), float(values.max())
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            pad = abs(low) / 2 or 0.5
            low, high = low - pad, high + pad
        if log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [10.0**k for k in decades if low <= 10.0**k <= high]
            return cls(low, high, start, end, True, tuple(ticks[:: max(1, len(ticks) // 5)]))
        step = nice((high - low) / 4)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        return cls(low, high, start, end, False, tuple(k * step for k in range(first, last + 1)))

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def nice(value: float) -> float:
    """The least of ... 0.1, 0.2, 0.5, 1, 2, 5 ... that is not below `value` (positive)."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((m * power for m in (1, 2, 5) if m * power >= value * (1 - 1e-9)), 10 * power)


def _tick(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}".replace("-", "−")


def _path(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> str:
    pieces, pen = [], "M"
    for step, value in zip(curve.steps, curve.values, strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        pieces.append(f"{pen}{x_axis(step):.1f} {y_axis(value):.1f}")
        pen = "L"
    return "".join(pieces)


def _summary(title: str, found: Sequence[Curve], along: str) -> str:
    ends = [f"{c.name} from {c.values[0]:.4g} to {c.values[-1]:.4g}" for c in found]
    return f"{title} over {along}: {'; '.join(ends)}"
