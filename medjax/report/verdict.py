"""Says in words whether a method beats the others, and says it when it does not."""

import math
from collections.abc import Mapping

from medjax.report.table import Column, Results, Row, format_value

_JUDGED = ("psnr", "ssim")
_SIGNS = {"high": 1.0, "low": -1.0}
_Values = Mapping[str, float | None]


def verdict(results: Results, method: str, keys: tuple[str, ...] = _JUDGED) -> str:
    """One honest sentence a column: how far `method` is above or below the best other row.

    The rivals are all rows but `method` itself and rows of kind "reference". Where single cases
    were measured, the sentence counts on how many of them the method is the better one.

    Args:
      results: the table.
      method: the row to judge, usually the network.
      keys: the columns to judge by, those that are there.

    Raises:
      KeyError: no row is called `method`.
    """
    own = results.row(method)
    rivals = [r for r in results.rows if r.method != method and r.kind != "reference"]
    columns = [c for key in keys if (c := results.column(key)) is not None and c.better in _SIGNS]
    pairs = [(c, rival) for c in columns if (rival := _strongest(rivals, c)) is not None]
    if not pairs:
        return f"{method}: nothing to compare with."
    leads = [(c, rival, _lead(c, own.values, rival.values)) for c, rival in pairs]
    behind = [c.title for c, _, lead in leads if lead is None or lead <= 0]
    if behind:
        opening = f"{method} does not beat every other method: not ahead in {' and '.join(behind)}."
    else:
        ahead = " and ".join(c.title for c, _, _ in leads)
        opening = f"{method} is ahead of every other method in {ahead}."
    return " ".join([opening, *(_sentence(own, *item) for item in leads)])


def _strongest(rivals: list[Row], column: Column) -> Row | None:
    sign = _SIGNS[column.better or "high"]
    measured = [(v, r) for r in rivals if (v := _number(r.values, column)) is not None]
    return max(measured, key=lambda item: sign * item[0])[1] if measured else None


def _lead(column: Column, own: _Values, rival: _Values) -> float | None:
    """How much better, at the precision that the table shows; None where one is missing."""
    a, b = _number(own, column), _number(rival, column)
    if a is None or b is None:
        return None
    # Infinity less infinity is no number: two perfect scores are a tie.
    return 0.0 if a == b else _SIGNS[column.better or "high"] * round(a - b, column.digits)


def _sentence(own: Row, column: Column, rival: Row, lead: float | None) -> str:
    unit = f" {column.unit}" if column.unit else ""
    other = f"the best other row, {rival.method}"
    value = f"({format_value(column, rival.values[column.key])}{unit})"
    if lead is None:
        return f"{column.title}: no value, against {other} {value}."
    if lead == 0:
        where = f"level with {other} {value}"
    else:
        side = "better" if lead > 0 else "worse"
        where = f"{format_value(column, abs(lead))}{unit} {side} than {other} {value}"
    return f"{column.title}: {where}{_count(own, rival, column)}."


def _count(own: Row, rival: Row, column: Column) -> str:
    if len(own.cases) < 2 or len(own.cases) != len(rival.cases):
        return ""
    leads = [_lead(column, a, b) for a, b in zip(own.cases, rival.cases, strict=True)]
    known = [lead for lead in leads if lead is not None]
    return f", ahead on {sum(lead > 0 for lead in known)} of {len(known)} cases" if known else ""


def _number(values: _Values, column: Column) -> float | None:
    value = values.get(column.key)
    return None if value is None or math.isnan(value) else value
