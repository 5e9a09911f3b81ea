"""One table of results: what was measured on held-out cases, for every method, in one place.

`Results` is what an evaluation hands over. It turns into JSON and back without loss, into
Markdown for a README and into a `rich.table.Table` for the terminal; the best value of each
column is marked in all of them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

from rich.markup import escape
from rich.table import Table

from medjax.metrics.column import Column, Kind

DASH = "–"


@dataclasses.dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
      method: its name as readers know it ("median 5x5").
      values: one number a column, the mean over the cases; None or absent: not measured.
      kind: "degraded" (the input itself), "classical", "network", or "reference" (the clean
        image measured like a method: never marked as best, never a rival in the verdict).
      cases: values of each single case, in the order of `Results.case_ids`; may be empty.
    """

    method: str
    values: Mapping[str, float | None]
    kind: Kind = "classical"
    cases: tuple[Mapping[str, float | None], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r} is none of {get_args(Kind)}")


@dataclasses.dataclass(frozen=True)
class Results:
    """All methods on the same cases.

    Attributes:
      title: what was measured on what ("Low-dose CT, 5 % dose, 12 held-out slices").
      note: what a reader needs to read the numbers right: data range, window, flat region.
      columns: the quantities, left to right.
      rows: the methods, top to bottom.
      case_ids: anonymous ids of the cases.

    Raises:
      ValueError: two rows or columns of one name, or a row with the wrong number of cases.
    """

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    case_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for names in ([c.key for c in self.columns], [r.method for r in self.rows], self.case_ids):
            if len(set(names)) != len(names):
                raise ValueError(f"names repeat: {names}")
        for row in self.rows:
            if row.cases and len(row.cases) != len(self.case_ids):
                raise ValueError(f"{row.method}: {len(row.cases)} cases, not {len(self.case_ids)}")

    def row(self, method: str) -> Row:
        """The row of that name; KeyError where there is none."""
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(method)

    def column(self, key: str) -> Column | None:
        """The column of that key, or None."""
        return next((c for c in self.columns if c.key == key), None)


def format_value(column: Column, value: float | None) -> str:
    """The number at the column's precision; a dash for what was not measured, ∞ for infinity."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{column.digits}f}"


def best(results: Results, column: Column) -> frozenset[str]:
    """Names of the methods that have the column's best value, ties at the shown precision."""
    target = _reference_value(results, column) if column.better == "reference" else 0.0
    if column.better is None or target is None:
        return frozenset()
    sign = -1.0 if column.better == "high" else 1.0
    badness: dict[str, float] = {}
    for row in results.rows:
        value = row.values.get(column.key)
        if value is None or math.isnan(value) or row.kind == "reference":
            continue
        shown = round(value, column.digits)
        badness[row.method] = abs(shown - target) if column.better == "reference" else sign * shown
    if not badness:
        return frozenset()
    least = min(badness.values())
    return frozenset(m for m, b in badness.items() if b == least or math.isclose(b, least))


def _reference_value(results: Results, column: Column) -> float | None:
    values = [r.values.get(column.key) for r in results.rows if r.kind == "reference"]
    return round(values[0], column.digits) if values and values[0] is not None else None


def to_json(results: Results) -> dict[str, Any]:
    """A dict of what JSON knows; infinities and NaN become strings, as strict JSON has none."""
    return {
        "title": results.title,
        "note": results.note,
        "case_ids": list(results.case_ids),
        "columns": [dataclasses.asdict(c) for c in results.columns],
        "rows": [
            {
                "method": r.method,
                "kind": r.kind,
                "values": _numbers_out(r.values),
                "cases": [_numbers_out(c) for c in r.cases],
            }
            for r in results.rows
        ],
    }


def from_json(data: Mapping[str, Any]) -> Results:
    """The inverse of `to_json`."""
    return Results(
        title=data["title"],
        note=data["note"],
        columns=tuple(Column(**c) for c in data["columns"]),
        rows=tuple(
            Row(
                method=r["method"],
                kind=r["kind"],
                values=_numbers_in(r["values"]),
                cases=tuple(_numbers_in(c) for c in r["cases"]),
            )
            for r in data["rows"]
        ),
        case_ids=tuple(data["case_ids"]),
    )


def _numbers_out(values: Mapping[str, float | None]) -> dict[str, float | str | None]:
    # float(): NumPy scalars, which the json module refuses.
    plain = {k: None if v is None else float(v) for k, v in values.items()}
    return {k: v if v is None or math.isfinite(v) else str(v) for k, v in plain.items()}


def _numbers_in(values: Mapping[str, float | str | None]) -> dict[str, float | None]:
    return {k: None if v is None else float(v) for k, v in values.items()}


def to_markdown(results: Results) -> str:
    """A Markdown table, best values in bold, with the title above it and the note below."""
    winners = {c.key: best(results, c) for c in results.columns}
    lines = [
        "| method | " + " | ".join(_cell(c.heading) for c in results.columns) + " |",
        "|---|" + "---:|" * len(results.columns),
    ]
    for row in results.rows:
        cells = [_cell(row.method)]
        for column in results.columns:
            text = format_value(column, row.values.get(column.key))
            cells.append(f"**{text}**" if row.method in winners[column.key] else text)
        lines.append("| " + " | ".join(cells) + " |")
    parts = [f"**{results.title}**", "\n".join(lines), results.note]
    return "\n\n".join(p for p in parts if p) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_rich(results: Results) -> Table:
    """A table for `rich.console.Console.print`, best values in bold green."""
    # escape(): a method named "net [v2]" is no markup.
    table = Table(title=escape(results.title), caption=escape(results.note) or None)
    table.add_column("method", no_wrap=True)
    for column in results.columns:
        table.add_column(escape(column.heading), justify="right")
    winners = {c.key: best(results, c) for c in results.columns}
    for row in results.rows:
        cells = [escape(row.method)]
        for column in results.columns:
            text = format_value(column, row.values.get(column.key))
            won = row.method in winners[column.key]
            cells.append(f"[bold green]{text}[/]" if won else text)
        table.add_row(*cells)
    return table
