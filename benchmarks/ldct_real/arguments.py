"""What the command line of the kernel comparison may say."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ldct.arguments import NONE, Parser, chosen_of, output, positive, several, whole
from benchmarks.ldct.suite import FILTERS
from benchmarks.ldct_real.contenders import ENTRIES


def parsed(description: str | None, args: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command.

    Raises:
      UserError: one is wrong.
    """
    parser = Parser(
        prog="python -m benchmarks.ldct_real",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    entries = {entry.name: entry for entry in ENTRIES}

    def networks(text: str):
        return [entries[name] for name in chosen_of(list(entries), text)]

    def filters(text: str) -> list[str]:
        return chosen_of(FILTERS, text)

    add("--slices", type=several(whole), help="of the scan, to judge (5 spread over 16 to 29)")
    add(
        "--networks",
        type=networks,
        default=list(ENTRIES),
        help=f"to train on other patients, of {', '.join(entries)}; or {NONE}",
    )
    add(
        "--run",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a low-dose CT run of your own to judge too; may be given again",
    )
    add(
        "--fine-tune",
        metavar="NAME",
        help=f"network to take on to this scan's noise (the first there is); or {NONE}",
    )
    add(
        "--filters", type=filters, default=list(FILTERS), help=f"of {', '.join(FILTERS)}; or {NONE}"
    )
    add("--setting", default="cpu", choices=("cpu", "full"), help="of the experiments (cpu)")
    add("--seed", type=int, default=0, help="of training (0)")
    add("--steps", type=positive, help="training steps instead of the experiments'")
    add("--fine-tune-steps", type=positive, help="likewise, of the fine-tuning")
    add("--runs", type=Path, default=Path("runs/ldct_real"), help="run folders (runs/ldct_real)")
    add("--out", type=output, help="JSON with every value")
    return parser.parse_args(args)


def _named(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise argparse.ArgumentTypeError(f"{text} must be NAME=FOLDER")
    return name, Path(folder)
