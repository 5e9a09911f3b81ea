"""How a training step scales over devices, and what its messages would cost on real networks.

    python -m benchmarks.scaling --devices 1,2,4,8 --out scaling.json

First table: the same step on 1, 2, ... fake devices of this CPU, weak (the batch grows with the
devices) and strong (it does not), by one jit over a mesh with the batch split, with the batch and
the training state split (fully sharded), with the images split, and by jax.pmap; all give the
weights of one device to rounding, or the command fails. Fake devices share the cores of this
machine: the milliseconds show what splitting costs, never a speed-up. What is exact are the
collectives and their bytes, read from the compiled program.

Second table: a model, see benchmarks/scaling/machines.py. One all-reduce of the gradients a step,
with `--step-ms` of computing on each chip. "Weak" keeps that as chips are added; "strong" divides
the work that 8 chips do in it among more. Each is a pair: nothing overlapped, everything.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ldct.arguments import Parser, output, positive, several, whole
from benchmarks.scaling.machines import CHIPS, MACHINES, efficiency
from medjax.errors import UserError
from medjax.io.common import atomic


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        compare(parsed(args))
    except UserError as error:
        sys.stderr.write(f"benchmarks.scaling: {error}\n")
        return 2
    return 0


def parsed(args: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command.

    Raises:
      UserError: one is wrong.
    """
    parser = Parser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=several(positive), default=[1, 2, 4, 8], help="fake ones (1,2,4,8)")
    add("--batch", type=positive, default=2, help="images a device, weak (2)")
    add("--size", type=positive, default=64, help="pixels along a side (64)")
    add("--width", type=positive, default=32, help="channels (32)")
    add("--layers", type=positive, default=8, help="convolutions (8)")
    add("--steps", type=positive, default=5, help="steps to time (5)")
    add("--step-ms", type=float, default=100.0, help="model: ms a chip computes (100)")
    add(
        "--parameters",
        type=whole,
        default=31_000_000,
        help="model: weights whose float32 gradients are summed (31 million, a U-Net of width 64; "
        "0 takes the network above)",
    )
    add("--out", type=output, help="JSON with every value")
    options = parser.parse_args(args)
    if any(options.size % devices for devices in options.devices):
        raise UserError("--size must be a multiple of each of --devices, for images to be split")
    if not 0 < options.step_ms < float("inf"):
        raise UserError(f"--step-ms {options.step_ms:g}: must be above 0")
    return options


def compare(args: argparse.Namespace) -> None:
    """Measures, models and prints; writes the JSON."""
    rows = [row for devices in args.devices for row in _rows(args, devices)]
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_measured(rows))
    console.print(
        "Fake devices share one CPU: milliseconds show overhead only. All ways gave the weights "
        f"of one device, to {max(row['difference'] for row in rows):.0e} of the largest."
    )
    size = 4 * (args.parameters or rows[0]["parameters"])
    model = modelled(size, args.step_ms / 1e3)
    console.print(_model(model, size, args.step_ms))
    if args.out:
        result = {
            "versions": {name: version(name) for name in ("jax", "jaxlib")},
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "arguments": {**vars(args), "out": str(args.out)},
            "measured": rows,
            "model": {"gradient_bytes": size, "step_ms": args.step_ms, "efficiency": model},
        }
        with atomic(args.out) as temporary:
            temporary.write_text(json.dumps(result, indent=2))
        print(f"wrote {args.out}")


def modelled(size: float, compute: float) -> list[dict[str, Any]]:
    """Efficiencies on each machine for gradients of `size` bytes and `compute` seconds a step."""
    rows = []
    for machine in MACHINES:
        for chips in CHIPS:
            seconds = machine.seconds(size, chips)
            rows.append(
                {
                    "machine": machine.name,
                    "chips": chips,
                    "all_reduce_ms": 1e3 * seconds,
                    "weak": efficiency(compute, seconds),
                    "strong": efficiency(compute * CHIPS[0] / chips, seconds),
                }
            )
    return rows


def _rows(args: argparse.Namespace, devices: int) -> list[dict[str, Any]]:
    most = max(args.devices)
    rows, found = [], {}
    for scaling, batch in {"weak": args.batch * devices, "strong": args.batch * most}.items():
        given = {
            "devices": devices,
            "batch": batch,
            **{name: getattr(args, name) for name in ("size", "width", "layers", "steps")},
        }
        if batch not in found:
            print(f"{devices} devices, batch {batch}", file=sys.stderr)
            found[batch] = _measure(given)
        parameters = found[batch]["parameters"]
        for way, row in found[batch]["ways"].items():
            rows.append({"scaling": scaling, "way": way, "parameters": parameters, **given, **row})
    return rows


def _measure(work: Mapping[str, int]) -> dict[str, Any]:
    options = [word for name, value in work.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling.step", *options],
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
    )
    return json.loads(done.stdout)


def _measured(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="A training step on fake devices")
    for name in ("scaling", "devices", "batch", "way", "ms", "collectives a step", "sent, KiB"):
        table.add_column(name, justify="left" if "sc" in name or name == "way" else "right")
    for row in rows:
        kinds = row["collectives"].items()
        table.add_row(
            row["scaling"],
            str(row["devices"]),
            str(row["batch"]),
            row["way"],
            f"{row['milliseconds']:.1f}",
            ", ".join(
                f"{count['operations']} {kind} of {count['bytes'] / 1024:.1f} KiB"
                for kind, count in kinds
            )
            or "none",
            f"{sum(count['sent'] for _, count in kinds) / 1024:.1f}",
        )
    return table


def _model(rows: list[dict[str, Any]], size: int, step_ms: float) -> Table:
    table = Table(
        title=f"Model: {size / 1e6:.1f} MB of gradients, a chip computes {step_ms:g} ms a step\n"
        "efficiency without overlap - with all of it"
    )
    table.add_column("network")
    for name in ("chips", "all-reduce, ms", "weak", "strong from 8"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["machine"],
            str(row["chips"]),
            f"{row['all_reduce_ms']:.2f}",
            *("{:.1%} - {:.1%}".format(*row[kind]) for kind in ("weak", "strong")),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
