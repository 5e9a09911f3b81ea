"""Every model and the filters in use today, trained and judged in one run.

    python -m benchmarks.restoration --suite ct,mri,xray,fundus [--seeds 0,1,2] [--out FILE]

Trains each network of a suite under each seed (runs that are there already go on, finished ones
are only opened), restores the same held-out cases with all of them and with the filters, and
prints quality, cost, the gain over each filter in dB and what became of each claim. Intervals are
95 % bootstrap intervals over cases, noise draws and seeds: they tell how sure the comparison is on
these patients, not on others. Filters know the true noise level and are tuned on training scans.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.restoration import show
from benchmarks.restoration.measuring import columns, measured
from benchmarks.restoration.suites import SUITES, Suite
from benchmarks.restoration.training import Network, trained
from medjax import run
from medjax.baselines.filters import OPTIONAL
from medjax.data import catalog
from medjax.errors import UserError
from medjax.io.common import atomic
from medjax.metrics.bootstrap import Interval
from medjax.report.table import to_json, to_rich

SHOWN = ("psnr", "ssim")


def main() -> int:
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 200)
    found: dict[str, Any] = {}
    for name in options.suite:
        found[name] = suite(SUITES[name], options, console, name)
        if options.out:
            with atomic(options.out) as temporary:
                temporary.write_text(json.dumps(found, indent=1))
    if options.out:
        console.print(f"wrote {options.out}")
    return 0


def suite(chosen: Suite, options: argparse.Namespace, console: Console, name: str) -> Any:
    """Trains, measures and prints one suite; returns what is kept of it."""
    networks: list[Network] = [
        trained(entry, options.setting, seed, options.steps, options.runs / name)
        for seed in options.seeds
        for entry in chosen.entries
    ]
    first = networks[0].experiment
    splits = [s for s in options.splits if s in catalog.load(first.data.name).splits]
    missing = [f for f in chosen.filters if not OPTIONAL[f]()]
    if missing:
        console.print(f"not installed, left out: {', '.join(missing)}")
    extra = [f for f in chosen.filters if f not in missing]
    kept: dict[str, Any] = {"machine": run.describe(first), "splits": splits, "variants": {}}
    for title, fields in chosen.variants.items():
        task = dataclasses.replace(first.task, **fields)
        filters = (*task.filters, *extra)
        values = list(measured(task, first.data.name, splits, filters, networks, options.draws))
        heading = f"{task.title}: {title}, {len(options.seeds)} seeds, {options.draws} noise draws"
        results = show.table(heading, task.note, columns(task), values, networks)
        settled = [s for c in chosen.claims if (s := show.settle(c, values)) is not None]
        spreads = show.intervals(values, columns(task))
        gained = show.gains(values)
        console.print(to_rich(results))
        console.print(_spreads(spreads))
        console.print(_gains(gained))
        sentences = [show.sentence(s, columns(task)) for s in settled]
        for sentence in sentences:
            console.print(sentence, highlight=False)
        kept["variants"][title] = {
            "results": to_json(results),
            "intervals": _plain(spreads),
            "gain_db": _plain(gained),
            "claims": sentences,
            "values": show.to_json(values),
        }
    return kept


def _spreads(spreads: dict[str, dict[str, Interval]]) -> Table:
    table = Table("method", *SHOWN, title="mean [95 % interval]")
    for row, found in spreads.items():
        table.add_row(row, *(_interval(found.get(key), 4 if key == "ssim" else 2) for key in SHOWN))
    return table


def _gains(gained: dict[str, dict[str, Interval]]) -> Table:
    others = list(next(iter(gained.values()), {}))
    table = Table("PSNR gain (dB) over", *gained)
    for other in others:
        table.add_row(other, *(_interval(gained[row][other], 2, "+") for row in gained))
    return table


def _interval(found: Interval | None, digits: int, sign: str = "") -> str:
    if found is None:
        return "–"
    low, mean, high = (f"{x:{sign}.{digits}f}" for x in (found.low, found.mean, found.high))
    return f"{mean} [{low}, {high}]"


def _plain(found: dict[str, dict[str, Interval]]) -> dict[str, dict[str, list[float]]]:
    return {row: {key: list(i) for key, i in own.items()} for row, own in found.items()}


def arguments(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.restoration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--suite", type=_suites, default=["ct"], help=f"of {', '.join(SUITES)}; comma between them"
    )
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="of training (0,1,2)")
    parser.add_argument("--draws", type=int, default=3, help="degradations of each case (3)")
    parser.add_argument("--setting", default="cpu", choices=("cpu", "full"))
    parser.add_argument("--steps", type=int, help="training steps instead of the experiment's")
    parser.add_argument(
        "--splits",
        type=lambda text: text.split(","),
        default=["test"],
        help="held-out splits, those that a dataset has (test)",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/restoration"), help="run folders")
    parser.add_argument("--out", type=Path, help="JSON with every value")
    return parser.parse_args(args)


def _suites(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(SUITES)}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.stderr.write(f"benchmarks.restoration: {error}\n")
        sys.exit(2)
