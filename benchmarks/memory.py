"""How much memory a training step of an experiment takes, by the compiler's own account.

    python -m benchmarks.memory fmri_cgan4d --setting cpu

Compiles the step as training does, for the first device, without running it. "temporary" is what
XLA plans for all intermediate results, gradients among them; "state" (weights, averages, optimiser)
and "batch" lie beside it. What the loader and JAX itself hold is not in it. It is the plan of this
device's compiler: another device's may differ.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from medjax import experiment as experiments
from medjax.build import batches_of, training_of
from medjax.data import catalog
from medjax.experiment import Experiment

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
    training = training_of(experiment)
    records = catalog.load(experiment.data.name).split("train")
    raw = jax.eval_shape(lambda x: x, next(batches_of(experiment, records, threads=0)))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(training.init, key, raw)
    compiled = jax.jit(training.step, donate_argnums=0).lower(state, raw, key).compile()
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
