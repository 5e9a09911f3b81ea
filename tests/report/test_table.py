"""Tables: best values, verdict, and the same numbers in JSON, Markdown and the terminal."""

import io
import json
import math

import pytest
from rich.console import Console

from medjax.report.table import (
    Column,
    Results,
    Row,
    best,
    format_value,
    from_json,
    to_json,
    to_markdown,
    to_rich,
)
from medjax.report.verdict import verdict

PSNR = Column("psnr", "PSNR", "dB", "high", 1)
SSIM = Column("ssim", "SSIM", "", "high", 3)
RMSE = Column("rmse", "RMSE", "HU", "low", 1)
NOISE = Column("noise", "Noise", "HU", "reference", 1)


def results(network_psnr: float = 40.0, **changes) -> Results:
    rows = (
        Row("FBP", {"psnr": 22.9, "ssim": 0.785, "rmse": 28.6, "noise": 28.0}, "degraded"),
        Row("NLM", {"psnr": 38.4, "ssim": 0.971, "rmse": 5.0, "noise": 6.1}),
        Row(
            "net [v2]", {"psnr": network_psnr, "ssim": 0.981, "rmse": 4.1, "noise": 3.0}, "network"
        ),
        Row("full dose", {"noise": 5.0}, "reference"),
    )
    fields = {"title": "CT", "note": "range 400 HU", "columns": (PSNR, SSIM, RMSE, NOISE)}
    return Results(**{**fields, "rows": rows, **changes})


def test_best_follows_each_columns_direction():
    table = results()
    assert best(table, PSNR) == {"net [v2]"}
    assert best(table, RMSE) == {"net [v2]"}
    # 6.1 is nearer to the reference's 5.0 than 3.0, and the reference itself is no winner.
    assert best(table, NOISE) == {"NLM"}
    assert best(table, Column("psnr", "PSNR")) == frozenset()


def test_equal_at_the_shown_precision_is_a_tie():
    assert best(results(network_psnr=38.44), PSNR) == {"NLM", "net [v2]"}
    assert best(results(network_psnr=38.46), PSNR) == {"net [v2]"}


def test_best_is_never_a_missing_or_undefined_value():
    rows = (Row("a", {"psnr": math.nan}), Row("b", {"psnr": None}), Row("c", {}))
    assert best(results(rows=rows), PSNR) == frozenset()
    assert best(results(rows=(*rows, Row("d", {"psnr": -3.0}))), PSNR) == {"d"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞"), (38.449, "38.4")],
)
def test_format_value(value, text):
    assert format_value(PSNR, value) == text


def test_json_round_trip_is_strict_json():
    rows = (Row("a", {"psnr": math.inf, "ssim": None}, "network", ({"psnr": -math.inf},)),)
    table = results(rows=rows, case_ids=("c1",))
    text = json.dumps(to_json(table), allow_nan=False)
    assert from_json(json.loads(text)) == table
    rows = (Row("a", {"psnr": math.nan}),)
    back = from_json(json.loads(json.dumps(to_json(results(rows=rows)), allow_nan=False)))
    assert math.isnan(back.row("a").values["psnr"] or 0.0)


def test_markdown_has_a_cell_for_every_column_and_marks_the_best():
    text = to_markdown(results(rows=(Row("a|b", {"psnr": 1.0}), Row("c", {"psnr": 2.0}))))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| method | PSNR (dB) ↑ | SSIM ↑ | RMSE (HU) ↓ | Noise (HU) → |"
    assert lines[2] == "| a\\|b | 1.0 | – | – | – |"
    assert lines[3] == "| c | **2.0** | – | – | – |"
    assert "range 400 HU" in text


def test_rich_table_prints_names_with_brackets_as_they_are():
    stream = io.StringIO()
    Console(file=stream, width=120).print(to_rich(results()))
    line = next(x for x in stream.getvalue().splitlines() if "net [v2]" in x)
    assert [c.strip() for c in line.strip("│ \n").split("│")] == [
        "net [v2]", "40.0", "0.981", "4.1", "3.0",
    ]  # fmt: skip


def test_verdict_says_how_far_ahead():
    text = verdict(results(), "net [v2]")
    assert "is ahead of every other method in PSNR and SSIM" in text
    assert "PSNR: 1.6 dB better than the best other row, NLM (38.4 dB)." in text
    assert "SSIM: 0.010 better" in text


def test_verdict_owns_up_to_a_loss():
    text = verdict(results(network_psnr=37.5), "net [v2]")
    assert "does not beat every other method: not ahead in PSNR." in text
    assert "PSNR: 0.9 dB worse than the best other row, NLM (38.4 dB)" in text


def test_verdict_counts_cases_and_knows_ties():
    rows = (
        Row("TV", {"psnr": 30.0}, cases=({"psnr": 29.0}, {"psnr": 31.0}, {"psnr": math.inf})),
        Row(
            "net",
            {"psnr": 30.0},
            "network",
            ({"psnr": 30.0}, {"psnr": 30.0}, {"psnr": math.inf}),
        ),
    )
    text = verdict(results(rows=rows, case_ids=("a", "b", "c")), "net")
    assert "does not beat" in text
    assert "level with the best other row, TV (30.0 dB), ahead on 1 of 3 cases" in text


def test_verdict_of_a_network_that_diverged_is_no_praise():
    text = verdict(results(network_psnr=math.nan), "net [v2]")
    assert "not ahead in PSNR." in text and "PSNR: no value" in text


def test_verdict_calls_what_looks_equal_in_the_table_no_lead():
    text = verdict(results(network_psnr=38.42), "net [v2]")
    assert "not ahead in PSNR." in text and "PSNR: level with" in text


def test_verdict_without_rivals_and_without_the_method():
    assert "nothing to compare" in verdict(results(rows=(Row("net", {"psnr": 1.0}),)), "net")
    with pytest.raises(KeyError):
        verdict(results(), "nobody")


def test_tables_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="repeat"):
        results(rows=(Row("a", {}), Row("a", {})))
    with pytest.raises(ValueError, match="2 cases"):
        results(rows=(Row("a", {}, cases=({}, {})),), case_ids=("one",))
    with pytest.raises(ValueError, match="better"):
        Column("psnr", "PSNR", better="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind"):
        Row("a", {}, kind="magic")  # type: ignore[arg-type]
