"""The tally: one row a fault, and every promise that broke, by name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from benchmarks.soak.look import PHASES
from benchmarks.soak.state import Ending, Soak, Strike

TITLES = ("fault", "times", "recovered", "steps lost at most", "bit-identical", "named by")


@dataclass(frozen=True)
class Row:
    """What came of one fault.

    Attributes:
      fault: its name.
      times: how often it struck.
      recovered: strikes on runs that came to their end nevertheless.
      lost: most steps done again after one strike; None where none was followed.
      identical: of the runs that it struck, those that ended as the uninterrupted one.
      runs: how many it struck.
      line: the last line that named it.
      phases: how often each phase was hit.
    """

    fault: str
    times: int
    recovered: int
    lost: int | None
    identical: int
    runs: int
    line: str
    phases: dict[str, int]


def tally(strikes: Sequence[Strike], endings: Sequence[Ending]) -> list[Row]:
    """One row for each fault, in the order in which they struck."""
    rows = []
    good = {ending.run for ending in endings if not ending.broken}
    for fault in dict.fromkeys(strike.fault for strike in strikes):
        mine = [strike for strike in strikes if strike.fault == fault]
        runs = {strike.run for strike in mine}
        lost = [strike.lost for strike in mine if strike.lost is not None]
        hit = Counter(strike.phase for strike in mine)
        rows.append(
            Row(
                fault=fault,
                times=len(mine),
                recovered=sum(strike.run in good for strike in mine),
                lost=max(lost, default=None),
                identical=len(runs & good),
                runs=len(runs),
                line=next((s.line for s in reversed(mine) if s.line), ""),
                phases={phase: hit[phase] for phase in PHASES if hit[phase]},
            )
        )
    return rows


def broken(strikes: Sequence[Strike], endings: Sequence[Ending]) -> list[str]:
    """Every promise that did not hold: which fault, which run, what was wrong."""
    told = [f"{s.fault}, {s.run}, {s.phase}: {what}" for s in strikes for what in s.broken]
    told += [f"{e.fault}, {e.run}, at its end: {what}" for e in endings for what in e.broken]
    ended = {ending.run for ending in endings}
    never = dict.fromkeys((s.fault, s.run) for s in strikes if s.run not in ended)
    return told + [f"{fault}, {run}: never came to its end" for fault, run in never]


def table(rows: Sequence[Row]) -> Table:
    """For the screen."""
    shown = Table(*TITLES, title="What struck a real run, and what came of it")
    for row in rows:
        lost = "-" if row.lost is None else str(row.lost)
        of = f"{row.identical} of {row.runs} runs"
        shown.add_row(row.fault, str(row.times), str(row.recovered), lost, of, row.line or "-")
    return shown


def as_json(soak: Soak, settings: dict[str, Any]) -> dict[str, Any]:
    """All that was found, for a file."""
    return {
        **settings,
        "seconds": {phase: round(seconds, 2) for phase, seconds in soak.pace.items()},
        "faults": [asdict(row) for row in tally(soak.strikes, soak.endings)],
        "strikes": [asdict(strike) for strike in soak.strikes],
        "endings": [asdict(ending) for ending in soak.endings],
        "broken": broken(soak.strikes, soak.endings),
    }
