"""report.html: one file that opens offline, with table, pictures, curves and the experiment.

It holds its own style and script, forbids the browser to load anything else (a Content Security
Policy), and says that it is no basis for a diagnosis. It shows what it is handed and nothing
more: case ids must be anonymous, and no header of any scan gets here.
"""

import base64
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from medjax.calibrate import Calibration
from medjax.io.common import atomic
from medjax.report import sections
from medjax.report.case_html import case_html
from medjax.report.cases import CasePictures
from medjax.report.table import Results
from medjax.train import writers

WARNING = (
    "Research use only, not for diagnosis. Restored images can show structures that are not"
    " there and lack structures that are. Look at the difference images."
)
_STATIC = Path(__file__).parent / "static"
_SCRIPTS = tuple(
    f"{name}.js" for name in ("pixels", "view", "marks", "viewer", "controls", "gestures")
)


def write_report(
    path: Path,
    *,
    title: str = "medjax report",
    results: Results | None = None,
    judged: str | None = None,
    cases: Sequence[CasePictures] = (),
    calibration: Calibration | None = None,
    history: Sequence[writers.Row] = (),
    experiment: Mapping[str, Any] | None = None,
    next_steps: Sequence[str] = (),
    created: datetime.datetime | None = None,
) -> Path:
    """Writes the report, whole or not at all; makes missing folders.

    Args:
      path: the file, usually RUN/report.html.
      title: heading and window title.
      results: the table on held-out cases.
      judged: the row that the verdict is about, usually the network.
      cases: pictures, a few of the held-out cases; names of images that are methods of the
        table get their figures of that case.
      calibration: of the spread that the judged row predicts, if it does.
      history: rows of metrics.jsonl, as from `medjax.train.writers.read_metrics`.
      experiment: the resolved experiment with versions and device, as in experiment.json.
      next_steps: commands to run next.
      created: printed in the heading; None: now.

    Returns:
      `path`.

    Raises:
      KeyError: `judged` is no row of the table.
    """
    pieces = page(
        title=title,
        results=results,
        judged=judged,
        cases=cases,
        calibration=calibration,
        history=history,
        experiment=experiment or {},
        next_steps=next_steps,
        created=created or datetime.datetime.now(datetime.UTC),
    )
    with atomic(path) as temporary:
        temporary.write_text("".join(pieces), encoding="utf-8")
    return path


def page(
    *,
    title: str,
    results: Results | None,
    judged: str | None,
    cases: Sequence[CasePictures],
    calibration: Calibration | None,
    history: Sequence[writers.Row],
    experiment: Mapping[str, Any],
    next_steps: Sequence[str],
    created: datetime.datetime,
) -> Iterator[str]:
    """The HTML of `write_report`, in pieces."""
    script = "".join(_static(name) for name in _SCRIPTS)
    yield "<!doctype html>\n"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
    yield f"<style>{_static('style.css')}</style></head><body>"
    yield f'<aside class="warning" role="note"><strong>{escape(WARNING)}</strong></aside><main>'
    yield f"<header><h1>{escape(title)}</h1>"
    yield f"<p>{created:%Y-%m-%d %H:%M} {created:%Z} · written by medjax</p></header>"
    if results is not None:
        yield "<section><h2>Results</h2>"
        yield from sections.table_html(results, judged)
        yield "</section>"
    if cases:
        yield f"<section><h2>Pictures</h2>{_static('help.html')}"
        kinds = sections.kinds(results)
        for i, case in enumerate(cases):
            yield from case_html(case, i, sections.case_numbers(results, case.case_id), kinds)
        yield "</section>"
    if calibration is not None:
        yield f"<section><h2>Uncertainty</h2>{sections.calibration_html(calibration)}</section>"
    if plots := sections.history_html(history):
        yield f"<section><h2>Training</h2>{plots}</section>"
    if next_steps:
        yield f"<section><h2>Next</h2>{sections.steps_html(next_steps)}</section>"
    if experiment:
        yield f"<section><h2>Experiment</h2>{sections.experiment_html(experiment)}</section>"
    yield f"</main><footer>{escape(WARNING)}</footer>"
    yield f'<template id="tools">{_static("tools.html")}</template>'
    yield f"<script>{script}</script></body></html>\n"


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing from anywhere but pictures inside the file, the style and this very script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
