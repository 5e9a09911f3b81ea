"""sweep.html: the settings as a table and plots, in one file that opens offline."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from medjax import report
from medjax.io.common import atomic
from medjax.report.sections import steps_html
from medjax.sweep import results
from medjax.sweep.results import Found
from medjax.sweep.scatter import Point, svg
from medjax.sweep.study import Setting

PAGE = "sweep.html"
WARNING = "Research use only, not for diagnosis."


def write(found: Found, next_steps: Sequence[str]) -> Path:
    """Writes sweep.html, whole or not at all."""
    path = found.folder / PAGE
    with atomic(path) as temporary:
        temporary.write_text("".join(page(found, next_steps)), encoding="utf-8")
    return path


def page(found: Found, next_steps: Sequence[str]) -> Iterator[str]:
    """The HTML of `write`, in pieces. It holds no script and loads nothing."""
    style = (Path(next(iter(report.__path__))) / "static" / "style.css").read_text("utf-8")
    title = escape(results.heading(found))
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{title}</title>"
    yield (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
    )
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
    yield f"<style>{style}</style></head><body>"
    yield f'<aside class="warning" role="note"><strong>{WARNING}</strong></aside><main>'
    yield f"<header><h1>{title}</h1><p>{escape(found.note)}</p></header>"
    yield f'<section><h2>Plots</h2><div class="plots">{"".join(_plots(found))}</div></section>'
    yield f"<section><h2>Settings</h2>{''.join(_table(found))}</section>"
    yield f"<section><h2>Next</h2>{steps_html(next_steps)}</section>"
    yield f"</main><footer>{WARNING}</footer></body></html>\n"


def _plots(found: Found) -> Iterator[str]:
    column = found.columns[0]
    for field in found.plan.fields:
        points = [
            Point(s.settings[field], s.values[column.key], _name(found, s), s == found.best)
            for s in found.settings
            if s.objective is not None
        ]
        # The order in which words stand is the user's, not that of their worth.
        order = {c.field: c.texts for c in found.plan.choices}.get(field, ())
        points.sort(key=lambda p: order.index(str(p.x)) if order else 0)
        yield f'<div class="panel">{svg(column.heading, field, points)}</div>'


def _name(found: Found, setting: Setting) -> str:
    chosen = ", ".join(f"{f} {results.number(v)}" for f, v in setting.settings.items())
    return f"run {setting.number}: {chosen}"


def _table(found: Found) -> Iterator[str]:
    heads = ["run", *found.plan.fields, *(c.heading for c in found.columns), ""]
    yield '<div class="wide"><table class="results"><thead><tr>'
    yield "".join(f"<th scope=col>{escape(head)}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    for setting in found.settings:
        mark = ' class="best"' if setting == found.best else ""
        cells = [*results.values(found, setting), results.remark(setting)]
        yield f"<tr><th scope=row>{escape(setting.number)}</th>"
        yield "".join(f"<td{mark}>{escape(cell)}</td>" for cell in cells)
        yield "</tr>"
    yield "</tbody></table></div>"
