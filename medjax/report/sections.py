"""The parts of a report without pictures: table, training curves, experiment, next steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from medjax.calibrate import Calibration
from medjax.report.history import Curve, curves, grouped
from medjax.report.plot import svg
from medjax.report.table import Column, Results, Row, best, format_value
from medjax.report.verdict import verdict
from medjax.train import writers

# The line under a picture has room for the first columns only.
_FIGURES = 3
_KIND_NAMES = {"degraded": "input", "classical": "", "network": "network", "reference": "reference"}


def table_html(results: Results, judged: str | None) -> Iterator[str]:
    """Verdict, table and note."""
    if judged is not None:
        yield f'<p class="verdict">{escape(verdict(results, judged))}</p>'
    # Not a caption of the table: a wide table is pushed aside on a narrow screen, its title not.
    yield f'<p class="caption" id="results-title">{escape(results.title)}</p>'
    yield '<div class="wide"><table class="results" aria-labelledby="results-title">'
    yield "<thead><tr><th scope=col>Method</th>"
    for column in results.columns:
        unit = f" <span>{escape(column.unit)}</span>" if column.unit else ""
        hint = f"<small>{escape(column.hint)}</small>" if column.hint else "<small>&nbsp;</small>"
        yield f"<th scope=col>{escape(column.title)}{unit}{hint}</th>"
    yield "</tr></thead><tbody>"
    winners = {c.key: best(results, c) for c in results.columns}
    for row in results.rows:
        yield f'<tr class="{row.kind}{" judged" if row.method == judged else ""}">'
        kind = tag_of(row)
        tag = f" <em>{kind}</em>" if kind else ""
        yield f"<th scope=row>{escape(row.method)}{tag}</th>"
        for column in results.columns:
            text = format_value(column, row.values.get(column.key))
            won = row.method in winners[column.key]
            yield f'<td class="best">{text}<b> ★</b></td>' if won else f"<td>{text}</td>"
        yield "</tr>"
    yield "</tbody></table></div>"
    stars = "★ best of its column. " if any(winners.values()) else ""
    yield f'<p class="note">{stars}{escape(results.note)}</p>'


def case_numbers(results: Results | None, case_id: str) -> dict[str, str]:
    """From method to its figures on one case, for the line under its picture."""
    if results is None or case_id not in results.case_ids:
        return {}
    at = results.case_ids.index(case_id)
    return {r.method: _figures(results.columns, r, at) for r in results.rows if r.cases}


def _figures(columns: Sequence[Column], row: Row, at: int) -> str:
    shown = []
    for column in columns[:_FIGURES]:
        value = row.cases[at].get(column.key)
        if value is not None:
            unit = f" {column.unit}" if column.unit else ""
            shown.append(f"{column.title} {format_value(column, value)}{unit}")
    return " · ".join(shown)


def kinds(results: Results | None) -> dict[str, str]:
    """From method to what it is, for the tag beside its name."""
    return {} if results is None else {r.method: tag_of(r) for r in results.rows}


def tag_of(row: Row) -> str:
    """What a row is, "" where its name says so itself."""
    kind = _KIND_NAMES[row.kind]
    return "" if kind in row.method.lower() else kind


def history_html(rows: Sequence[writers.Row]) -> str:
    """One plot a metric, "" where none was logged."""
    return _plots(svg(name, group) for name, group in grouped(curves(rows)).items())


def calibration_html(found: Calibration) -> str:
    """The calibration curve, predicted beside true errors, and what they come to."""

    def percent(shares: Sequence[float]) -> np.ndarray:
        # An interval of nothing holds nothing, one of everything all.
        return 100 * np.asarray((0.0, *shares, 1.0))

    nominal = percent(found.levels)
    intervals = [
        Curve("right", nominal, nominal),
        Curve("as the network says", nominal, percent(found.raw)),
        Curve(f"stretched by {found.stretch:.2f}", nominal, percent(found.observed)),
    ]
    predicted = np.asarray(found.predicted)
    unit = found.unit and f", {found.unit}"
    bins = [
        Curve("right", predicted, predicted),
        Curve("stretched", predicted, np.asarray(found.found)),
    ]
    drawn = _plots(
        (
            svg("Errors inside the intervals, %", intervals, "interval, %"),
            svg(f"Root mean square error{unit}", bins, f"predicted standard deviation{unit}"),
        )
    )
    line = found.line
    return f'{drawn}<p class="note">{escape(line[:1].upper() + line[1:])}.</p>'


def _plots(plots: Iterable[str]) -> str:
    drawn = "".join(f'<div class="panel">{p}</div>' for p in plots if p)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def experiment_html(experiment: Mapping[str, Any]) -> str:
    """Nested definition lists; paths are left out.

    Folders and files of a hospital are often named after patients, and a report is passed on.
    """
    plain = {k: v for k, v in experiment.items() if not isinstance(v, Mapping)}
    nested = {k: v for k, v in experiment.items() if isinstance(v, Mapping)}
    parts = [_definitions(plain)] if plain else []
    parts += [
        f"<details open><summary>{escape(str(k).replace('_', ' '))}</summary>"
        f"{_definitions(v)}</details>"
        for k, v in nested.items()
        if v
    ]
    return f'<div class="experiment">{"".join(parts)}</div>'


def _definitions(values: Mapping[str, Any]) -> str:
    items = "".join(
        f"<div><dt>{escape(str(k))}</dt><dd>{_value(v)}</dd></div>" for k, v in values.items()
    )
    return f"<dl>{items}</dl>"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _definitions(value)
    if isinstance(value, list | tuple):
        if any(isinstance(v, Mapping) for v in value):
            return "".join(_value(v) for v in value)
        return escape(", ".join(_text(v) for v in value)) or "none"
    return escape(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    if absolute or isinstance(value, PurePath) or text.startswith("~") or "://" in text:
        return "a path, see experiment.json"
    return text


def steps_html(steps: Sequence[str]) -> str:
    """A list of commands to run next."""
    return "<ul>" + "".join(f"<li><code>{escape(s)}</code></li>" for s in steps) + "</ul>"
