"""How much memory a training step takes, and which settings make it fit: compiled, never run."""

import dataclasses
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from medjax.build import batch_like, mesh_of, state_sharding_of, training_of
from medjax.errors import UserError
from medjax.experiment import Devices, Experiment
from medjax.sweep.plan import option
from medjax.sweep.space import leaves, replaced
from medjax.tasks.base import each_axis
from medjax.train.compiled import program

ACCUMULATED = (1, 2, 4, 8)
# Memory is planned before the CPU's instructions are chosen, so they need not be good ones.
_QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
_UNITS = {"B": 1, **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate("KMGT")}}
_UNITS |= {f"{p}iB": 1024 ** (i + 1) for i, p in enumerate("KMGT")}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one compiled training step on each of its devices.

    Attributes:
      parameters: numbers in the averaged weights, on all devices together.
      state: weights, averages and the optimiser's moments.
      batch: what the loader hands over.
      temporary: all intermediate results, gradients among them, as XLA lays them out.
    """

    parameters: int
    state: int
    batch: int
    temporary: int

    @property
    def total(self) -> int:
        return self.state + self.batch + self.temporary


def measure(
    experiment: Experiment, raw: Mapping[str, jax.ShapeDtypeStruct] | None = None
) -> Memory:
    """Compiles the experiment's training step for its shapes and reads the compiler's plan.

    It is the plan of this machine's compiler; another device's differs. What the loader and JAX
    itself hold is not in it.

    Args:
      experiment: tells network, batch, patch and devices.
      raw: shapes of a batch; None takes those that `batch_like` finds without a dataset.

    Raises:
      UserError: the batch does not fit the devices or the network, or the compiler does not say.
    """
    training = training_of(experiment)
    plan = program(
        training.init,
        training.step,
        batch_like(experiment) if raw is None else raw,
        mesh=mesh_of(experiment),
        seed=experiment.seed,
        state_sharding=state_sharding_of(experiment),
    )
    said = plan.compiled(_QUICK if jax.default_backend() == "cpu" else None).memory_analysis()
    if said is None:
        raise UserError(f"the compiler for {jax.devices()[0].device_kind} does not tell its memory")
    # Of what is returned, the state takes the place of the one that was given.
    returned = max(0, said.output_size_in_bytes - said.alias_size_in_bytes)
    return Memory(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(plan.like.ema)),
        state=_bytes(plan.like),
        batch=_bytes(plan.batch_like),
        temporary=said.temp_size_in_bytes + returned,
    )


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to run the same training.

    Attributes:
      experiment: with what the choice changes.
      precision: in which the networks compute.
      remat: what of the network's insides is computed again.
      batches: whose gradients are averaged before the weights move.
    """

    experiment: Experiment
    precision: str
    remat: str
    batches: int

    @property
    def name(self) -> str:
        devices = self.experiment.devices
        parts = [self.precision, f"remat {self.remat}"]
        if devices.data * devices.space != 1:
            parts.append(f"data {devices.data or 'all'} x space {devices.space}")
        batch = self.experiment.data.batch
        parts.append(f"batch {batch}" + (f" x {self.batches}" if self.batches > 1 else ""))
        return ", ".join(parts)


def choices(experiment: Experiment, devices: int) -> Iterator[Choice]:
    """Ways to run the experiment, from the fastest to the most frugal.

    First as it stands, then in bfloat16, then with recomputed blocks (a third more work, the same
    numbers), then with the batch in 2, 4 and 8 parts whose gradients are averaged. An experiment
    on one device is spread over all that there are, by the batch as far as it divides, and then
    by space. Settings that a network does not have are left out.

    Args:
      experiment: as the user wants it.
      devices: that there are.
    """
    held = leaves(experiment)
    precise = {n for n, v in held.items() if n.endswith(".dtype") and v == "float32"}
    whole = {n for n, v in held.items() if n.endswith(".remat") and v == "none"}
    own = (_said(held, ".dtype", "float32"), _said(held, ".remat", "none"))
    half = dict.fromkeys(precise, "bfloat16")
    again = half | dict.fromkeys(whole, "blocks")
    for parts in ACCUMULATED:
        if experiment.data.batch % parts:
            continue
        divided = _divided(experiment, parts)
        ways: list[tuple[dict[str, str], tuple[str, str]]] = [({}, own)] if parts == 1 else []
        if precise or parts > 1:
            ways.append((half, ("bfloat16", own[1])))
        if whole:
            ways.append((again, ("bfloat16", "blocks")))
        for changes, (precision, remat) in ways:
            changed = replaced(divided, changes)
            for layout in _layouts(changed, devices):
                spread = dataclasses.replace(changed, devices=layout)
                yield Choice(spread, precision, remat, spread.schedule.accumulate)


def _said(held: Mapping[str, Any], ending: str, default: str) -> str:
    return next((v for n, v in held.items() if n.endswith(ending)), default)


def _divided(experiment: Experiment, parts: int) -> Experiment:
    """The batch in parts; a step is one part, so there are as many times more of them."""
    if parts == 1:
        return experiment
    plan = experiment.schedule
    schedule = dataclasses.replace(
        plan,
        steps=plan.steps * parts,
        warmup=plan.warmup * parts,
        restart_every=plan.restart_every * parts,
        accumulate=plan.accumulate * parts,
    )
    data = dataclasses.replace(experiment.data, batch=experiment.data.batch // parts)
    return dataclasses.replace(experiment, schedule=schedule, data=data)


def _layouts(experiment: Experiment, devices: int) -> list[Devices]:
    """How the devices may share the work, those that share only the batch first."""
    own, batch = experiment.devices, experiment.data.batch
    if devices == 1 or own.data != 1 or own.space != 1:
        return [own] if own.data == 0 or batch % own.data == 0 else []
    rows = each_axis(experiment.data.patch, experiment.task.dims)[-experiment.task.network_dims]
    by_batch = math.gcd(batch, devices)
    found = [
        dataclasses.replace(own, data=data, space=devices // data)
        for data in dict.fromkeys((by_batch, 1))
        if rows % (devices // data) == 0
    ]
    return found or [own]


def memory_of(text: str) -> int:
    """Bytes of "80GB" (10^9) or "80GiB" (2^30).

    Raises:
      UserError: it is written otherwise.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    units = {name.lower(): size for name, size in _UNITS.items()}
    if not found or found[2].lower() not in units or not float(found[1]):
        raise UserError(f"--memory {text}: write a number and a unit, such as 80GB or 512MiB")
    return int(float(found[1]) * units[found[2].lower()])


def options(before: Experiment, after: Experiment) -> list[str]:
    """The words of a command line that turn one experiment into the other."""
    old, words = leaves(before), []
    for field, value in leaves(after).items():
        if field not in old or old[field] != value:
            said = (
                shlex.join(map(str, value)) if isinstance(value, tuple) else shlex.quote(str(value))
            )
            words += option(after, field.replace("_", "-"), said)
    return words


@dataclasses.dataclass(frozen=True)
class Planned:
    """A choice with what it takes.

    Attributes:
      choice: of the settings.
      memory: by the compiler; None where it was not asked.
      least: bytes that the step takes at least: the compiler's, or a share of a larger batch's.
      fits: into the memory.
    """

    choice: Choice
    memory: Memory | None
    least: int
    fits: bool


def plan(
    experiment: Experiment,
    memory: int,
    *,
    devices: int,
    every: bool = False,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> list[Planned]:
    """Compiles one choice after another, up to the first that fits or, if asked, all of them.

    Half the batch takes no less than half the memory. What is too large by that, with a tenth to
    spare, is not compiled unless all are asked for.

    Args:
      experiment: as the user wants it.
      memory: bytes of a device.
      devices: that there are.
      every: go on after the first that fits.
      report: told how many are done, of how many.
    """
    listed, found = list(choices(experiment, devices)), []
    raw: dict[int, dict[str, jax.ShapeDtypeStruct]] = {}
    an_image: dict[tuple[str, str, Devices], float] = {}
    for i, choice in enumerate(listed):
        report(i, len(listed))
        batch = choice.experiment.data.batch
        way = choice.precision, choice.remat, choice.experiment.devices
        least = int(an_image.get(way, 0) * batch)
        if least > 1.1 * memory and not every:
            found.append(Planned(choice, None, least, fits=False))
            continue
        if batch not in raw:
            raw[batch] = batch_like(choice.experiment)
        taken = measure(choice.experiment, raw[batch])
        an_image.setdefault(way, taken.total / batch)
        found.append(Planned(choice, taken, taken.total, taken.total <= memory))
        if found[-1].fits and not every:
            break
    report(len(listed), len(listed))
    return found


def _bytes(tree: Any) -> int:
    """Of each device's share."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
