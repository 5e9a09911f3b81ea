"""What the command line may say."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ldct.arguments import Parser, chosen_of, output, positive, several, whole
from benchmarks.throughput.suite import BY_NAME, ROWS, Row, planned
from medjax.errors import UserError

DTYPES = ("float32", "bfloat16")
TORCH = ("all", "eager", "none")


def parsed(description: str | None, args: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; `rows` are those that models and methods leave.

    Raises:
      UserError: one is wrong.
    """
    parser = Parser(
        prog="python -m benchmarks.throughput",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", type=_models, default=list(ROWS), help=f"of {', '.join(BY_NAME)} (all)")
    labels = list(dict.fromkeys(_label(row) for row in ROWS))
    add(
        "--methods",
        type=lambda text: chosen_of(labels, text),
        default=labels,
        help=f"only rows trained by these: {', '.join(labels)} (all)",
    )
    add(
        "--setting",
        choices=("cpu", "full"),
        help="size of networks and batches (cpu on CPUs, full elsewhere)",
    )
    add(
        "--shape",
        type=_shape,
        help="samples of a patch along each axis, as 128,128 (the experiments')",
    )
    add("--batch", type=positive, help="patches a step (the experiments')")
    add(
        "--dtype",
        type=several(_dtype),
        default=["float32"],
        help=f"in which networks compute, of {', '.join(DTYPES)}; comma between them (float32)",
    )
    add(
        "--processes",
        type=positive,
        default=1,
        help="rows that compile, and lie on the device, at once (1)",
    )
    add(
        "--compile-limit",
        type=positive,
        default=3600,
        help="seconds after which one of several rows that compile at once is left out, and after "
        "0.85 of them what PyTorch has not compiled (3600)",
    )
    add("--rounds", type=positive, default=7, help="timed rounds; each runs every contender (7)")
    add(
        "--torch",
        choices=TORCH,
        default="all",
        help="PyTorch beside it: eager and through torch.compile, eager alone, none (all)",
    )
    add("--torch-threads", type=positive, help="of PyTorch on CPUs (as PyTorch chooses)")
    add(
        "--quality-steps",
        type=whole,
        default=0,
        help="of each experiment's training, before PSNR and SSIM on held-out scans (0: none)",
    )
    add("--runs", type=Path, default=Path("runs/throughput"), help="folder of those runs")
    add("--out", type=output, help="JSON with every value")
    options = parser.parse_args(args)
    options.rows = [row for row in options.models if _label(row) in options.methods]
    if not options.rows:
        raise UserError("no row is left of these --models and --methods; --help lists them")
    return options


def _label(row: Row) -> str:
    return planned(row, "cpu").method.label


def _models(text: str) -> list[Row]:
    return [BY_NAME[name] for name in chosen_of(list(BY_NAME), text)]


def _dtype(text: str) -> str:
    if text not in DTYPES:
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(DTYPES)}")
    return text


def _shape(text: str) -> tuple[int, ...]:
    return tuple(positive(part.strip()) for part in text.split(","))
