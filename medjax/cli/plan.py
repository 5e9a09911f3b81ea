"""medjax plan: the fastest settings of an experiment whose training step fits a device's memory."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from medjax.cli.common import bar, parse
from medjax.cli.train import setting_of
from medjax.errors import UserError

if TYPE_CHECKING:
    from medjax.planning import Planned

GB = 1e9
# What JAX reserves of an accelerator unless told otherwise.
RESERVED = 0.75
USAGE = """usage: medjax plan EXPERIMENT --memory 80GB [OPTIONS] [--FIELD VALUE]

Compiles the training step for its shapes, without data and without running it, and names the
fastest settings that fit: as it stands, bfloat16, recomputed blocks, the batch in parts whose
gradients are averaged. With several devices the work is spread over all, by batch, then by space.
Half a batch takes no less than half the memory: what is too large by that is not compiled, and its
total reads "> 94.2". A choice takes up to minutes to compile, a large patch hardly longer than a
small one.

  --memory SIZE       of one device: 80GB (10^9 bytes each) or 80GiB (2^30)
  --all               compile every choice, also those that cannot fit or follow one that does
  --setting cpu|full  as for train
  --FIELD VALUE       any that medjax train EXPERIMENT --help shows, e.g. --patch 4096 --batch 8

Several devices can be feigned: XLA_FLAGS=--xla_force_host_platform_device_count=8 medjax plan ...
"""


def run(args: Sequence[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    from medjax import build, experiment
    from medjax.sweep.space import check_counts

    path, setting = experiment.find(args[0]), setting_of(args[1:])

    @dataclasses.dataclass(frozen=True)
    class Plan:
        """Compiles the training step of an experiment and names settings that fit the memory.

        Nothing is run or read: the figures are the plan of this machine's compiler, and another
        device's differs.

        Attributes:
          memory: of one device, such as 80GB (10^9 bytes each) or 80GiB (2^30).
          all: compile every choice, also those that cannot fit or follow one that does.
          setting: cpu (minutes on 2 cores) or full (accelerators); if not given, what fits.
        """

        what: Annotated[experiment.Experiment, tyro.conf.arg(name="")]
        memory: Annotated[str, tyro.conf.arg(metavar="SIZE")] = ""
        all: bool = False
        setting: str | None = None

    base = experiment.load(path, setting)
    chosen = parse(Plan, args[1:], f"medjax plan {args[0]}", Plan(base, setting=setting))
    if not chosen.memory:
        raise UserError("plan needs --memory SIZE, that of one device, such as 80GB")
    import jax

    from medjax import planning

    memory = planning.memory_of(chosen.memory)
    check_counts(chosen.what)
    try:
        build.method_of(chosen.what)
        with bar("compiling") as report:
            found = planning.plan(
                chosen.what, memory, devices=jax.device_count(), every=chosen.all, report=report
            )
    except ValueError as error:
        raise UserError(f"{error}; medjax train {args[0]} --help shows every field") from error
    taken = next((each for each in found if each.fits), None)
    Console(width=None if sys.stdout.isatty() else 120).print(_table(found, taken, memory))
    device = jax.devices()[0]
    sys.stdout.write(_said_of(device.platform, device.device_kind, len(jax.devices())))
    sys.stdout.write(_why(found, taken, memory))
    if taken is None:
        return 1
    words = planning.options(base, taken.choice.experiment)
    command = ["medjax", "train", args[0], "--setting", setting, *words]
    if taken.choice.batches > chosen.what.schedule.accumulate:
        sys.stdout.write(
            "A step is one of these smaller batches, so there are as many times more of them; "
            "batch normalisation, where there is any, sees one at a time.\n"
        )
    if device.platform != "cpu" and taken.least > RESERVED * memory:
        sys.stdout.write(
            f"JAX takes {RESERVED:.0%} of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION "
            "says more; set it to 0.95.\n"
        )
    sys.stdout.write(f"next: {shlex.join(command)}\n")
    return 0


def _table(found: "Sequence[Planned]", taken: "Planned | None", memory: int) -> Table:
    table = Table("", "choice", title=f"One training step, GB (10^9 bytes) of {memory / GB:g} GB")
    for column in ("state", "batch", "temporary", "total"):
        table.add_column(column, justify="right")
    table.add_column("fits")
    for each in found:
        sizes = _sizes(each)
        fits = "yes" if each.fits else "no"
        table.add_row("->" if each is taken else "", each.choice.name, *sizes, fits)
    return table


def _sizes(planned: "Planned") -> list[str]:
    if planned.memory is None:
        return ["", "", "", f"> {_gb(planned.least)}"]
    memory = planned.memory
    return [_gb(size) for size in (memory.state, memory.batch, memory.temporary, memory.total)]


def _gb(size: int) -> str:
    return f"{size / GB:.3g}" if size < GB else f"{size / GB:.1f}"


def _said_of(platform: str, kind: str, devices: int) -> str:
    said = f"By this machine's compiler, for {kind}"
    said += f", each of {devices} devices" if devices > 1 else ""
    if platform == "cpu":
        return (
            f"{said}. Accelerators' plans differ: a CPU computes bfloat16 in float32, and medjax "
            "folds\nconvolutions in 4-D there, and without oneDNN in 3-D, which takes more.\n"
        )
    return f"{said}.\n"


def _why(found: "Sequence[Planned]", taken: "Planned | None", memory: int) -> str:
    if taken is None:
        least = min(found, key=lambda each: each.least)
        return (
            f"Nothing fits: the least is {_sizes(least)[-1]} GB ({least.choice.name}). "
            "Take a smaller patch or network, or more devices.\n"
        )
    before = found[: found.index(taken)]
    if not before:
        return f"Takes {taken.choice.name}: it fits as it stands.\n"
    lacking = ", ".join(_sizes(each)[-1] for each in before)
    return (
        f"Takes {taken.choice.name}: {taken.least / GB:.1f} GB, the first that fits; those "
        f"before it are faster or\nnearer to the experiment, but take {lacking} GB.\n"
    )
