"""How much memory a training step of an experiment takes, by the compiler's own account.

    python -m benchmarks.memory fmri_cgan4d --setting cpu

Compiles the step as training does, for the first device, without running it. "temporary" is what
XLA plans for all intermediate results, gradients among them; "state" (weights, averages, optimiser)
and "batch" lie beside it. What the loader and JAX itself hold is not in it. It is the plan of this
device's compiler: another device's may differ.
"""

import argparse
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array

from medjax import experiment as experiments
from medjax.build import fold, method_of
from medjax.data import catalog, pipeline
from medjax.experiment import Experiment
from medjax.methods.base import Pair
from medjax.tasks.base import each_axis

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Mebibytes of one compiled training step."""

    experiment: str
    setting: str
    device: str
    parameters: int
    state_mib: float
    batch_mib: float
    temporary_mib: float


def measure(experiment: Experiment, setting: str) -> Memory:
    """Compiles a training step on a batch of the experiment's own data."""
    task, data, method = experiment.task, experiment.data, method_of(experiment)
    patch = each_axis(data.patch, task.dims)
    patch = tuple(p + 2 * m for p, m in zip(patch, task.margin(patch), strict=True))
    batches = pipeline.batches(
        catalog.load(data.name).split("train"),
        batch_size=data.batch,
        patch=patch,
        seed=experiment.seed,
        threads=0,
        context=functools.partial(task.context, patch=patch),
    )

    def init(raw: dict[str, Array], key: Array) -> Any:
        return method.init(key, pair(raw, key))

    def pair(raw: dict[str, Array], key: Array) -> Pair:
        return Pair(*(fold(x, task.network_dims) for x in task.prepare(raw, key)))

    def step(state: Any, raw: dict[str, Array], key: Array) -> Any:
        prepare_key, step_key = jax.random.split(key)
        return method.step(state, pair(raw, prepare_key), step_key)

    raw = jax.eval_shape(lambda x: x, next(batches))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(init, raw, key)
    compiled = jax.jit(step, donate_argnums=0).lower(state, raw, key).compile()
    plan = compiled.memory_analysis()
    if plan is None:
        raise SystemExit(f"the compiler for {jax.devices()[0].device_kind} does not say")
    return Memory(
        experiment=experiment.name,
        setting=setting,
        device=jax.devices()[0].device_kind,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.ema)),
        state_mib=_bytes(state) / MIB,
        batch_mib=_bytes(raw) / MIB,
        temporary_mib=plan.temp_size_in_bytes / MIB,
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("experiment", nargs="+", help="names of `medjax list` or Python files")
    parser.add_argument("--setting", choices=experiments.SETTINGS, default="cpu")
    parser.add_argument("--out", type=Path, help="file for JSON rows")
    args = parser.parse_args()
    rows = []
    for name in args.experiment:
        row = measure(experiments.load(experiments.find(name), args.setting), args.setting)
        rows.append(dataclasses.asdict(row))
        print(
            f"{row.experiment} ({row.setting}, {row.device}): {row.parameters} weights, "
            f"state {row.state_mib:.1f} MiB, batch {row.batch_mib:.1f} MiB, "
            f"temporary {row.temporary_mib:.1f} MiB"
        )
    if args.out:
        args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
