"""What the command line of the low-dose CT comparison may say."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar, get_args

from benchmarks.ldct.peers import PEERS, Peer
from benchmarks.ldct.suite import ENTRIES, FILTERS
from benchmarks.restoration.suites import Entry
from medjax.errors import UserError
from medjax.physics.ct import DoseModel, Filter

# Published by the field's benchmark (Eulig et al., ldct-benchmark) for chests: -600, 1500 wide.
WINDOW = (-1350.0, 150.0)
NONE = "none"
T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists all arguments")


def parsed(description: str | None, args: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command.

    Raises:
      UserError: one is wrong.
    """
    parser = Parser(
        prog="python -m benchmarks.ldct",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--doses",
        type=several(_dose),
        default=[0.5, 0.25, 0.1, 0.05],
        help="fractions of the full dose (0.5,0.25,0.1,0.05)",
    )
    add("--seeds", type=several(whole), default=[0, 1, 2], help="of training (0,1,2)")
    add("--setting", default="cpu", choices=("cpu", "full"), help="of the experiments (cpu)")
    add("--steps", type=positive, help="training steps instead of the experiments'")
    networks = ", ".join(entry.name for entry in ENTRIES)
    add("--networks", type=_networks, default=list(ENTRIES), help=f"of {networks}; or {NONE}")
    add(
        "--filters",
        type=_filters,
        default=list(FILTERS),
        help=f"of {', '.join(FILTERS)}; or {NONE}",
    )
    peers = "; ".join(peer.entry.name for peer in PEERS)
    add(
        "--peers",
        type=_peers,
        default=list(PEERS),
        help=f"in PyTorch, trained for as long as ours, separated by semicolons: of {peers}; "
        f"or {NONE}",
    )
    add("--slices", type=several(whole), help="of the scan, to judge (5 the detector never saw)")
    add("--repeats", type=_pairs, default=2, help="noise realisations of a slice, an even number")
    add(
        "--photons",
        type=_photons,
        default=DoseModel().photons,
        help=f"a ray at full dose ({DoseModel().photons:g}); sets the noise of the input, which "
        "is printed in HU; networks are trained with their experiment's",
    )
    add("--views", type=positive, default=720, help="over half a turn (720)")
    add("--kernel", default="hann", choices=get_args(Filter), help="of reconstruction (hann)")
    add(
        "--window",
        type=float,
        nargs=2,
        default=WINDOW,
        metavar=("LOW", "HIGH"),
        help="HU of PSNR, SSIM and VIF (-1350 150)",
    )
    add("--runs", type=Path, default=Path("runs/ldct"), help="run folders (runs/ldct)")
    add("--out", type=output, help="JSON with every value")
    return parser.parse_args(args)


def several(one: Callable[[str], T], separator: str = ",") -> Callable[[str], list[T]]:
    """A type of argument: different values with a separator between them."""

    def parse(text: str) -> list[T]:
        found = [one(part.strip()) for part in text.split(separator)]
        if len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f"{text} names something twice")
        return found

    return parse


def _dose(text: str) -> float:
    dose = _number(float, text)
    if not 0 < dose < 1:
        raise argparse.ArgumentTypeError(f"{text} is no fraction of the full dose, 0 to 1")
    return dose


def whole(text: str) -> int:
    """A type of argument: a whole number from 0 on."""
    number = _number(int, text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} must be 0 or more")
    return number


def positive(text: str) -> int:
    """A type of argument: a whole number from 1 on."""
    number = _number(int, text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return number


def output(text: str) -> Path:
    """A type of argument: a file to be written; asked before the long work that it is for."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; give the name of a file")
    return Path(text)


def _pairs(text: str) -> int:
    number = positive(text)
    if number % 2:
        raise argparse.ArgumentTypeError(f"{text} must be even: noise is measured between two")
    return number


def _photons(text: str) -> float:
    number = _number(float, text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return number


def _number(kind: Callable[[str], T], text: str) -> T:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number that fits here") from None


def _filters(text: str) -> list[str]:
    return chosen_of(FILTERS, text)


def _networks(text: str) -> list[Entry]:
    by_name = {entry.name: entry for entry in ENTRIES}
    return [by_name[name] for name in chosen_of(list(by_name), text)]


def _peers(text: str) -> list[Peer]:
    by_name = {peer.entry.name: peer for peer in PEERS}
    return [by_name[name] for name in chosen_of(list(by_name), text, ";")]


def chosen_of(known: Sequence[str], text: str, separator: str = ",") -> list[str]:
    """The names in the text, all of them known; none for `NONE`."""
    if text == NONE:
        return []
    names = several(str, separator)(text)
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
    return names
