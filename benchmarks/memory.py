"""How much memory a training step of an experiment takes, by the compiler's own account.

    python -m benchmarks.memory fmri_cgan4d --setting cpu

Compiles the step as training does (`planning.measure`), without running it. "temporary" is what
XLA plans for all intermediate results, gradients among them; "state" (weights, averages, optimiser)
and "batch" lie beside it. What the loader and JAX itself hold is not in it. It is the plan of this
device's compiler: another device's may differ. `medjax plan` looks for settings that fit.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import jax

from medjax import experiment as experiments
from medjax.errors import UserError
from medjax.planning import measure

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("experiment", nargs="+", help="names of `medjax list` or Python files")
    parser.add_argument("--setting", choices=experiments.SETTINGS, default="cpu")
    parser.add_argument("--out", type=Path, help="file for JSON rows")
    args = parser.parse_args()
    rows, device = [], jax.devices()[0].device_kind
    for name in args.experiment:
        try:
            memory = measure(experiments.load(experiments.find(name), args.setting))
        except UserError as error:
            sys.exit(f"benchmarks.memory: {error}")
        mib = {f"{part}_mib": size / MIB for part, size in dataclasses.asdict(memory).items()}
        mib.pop("parameters_mib")
        row = {"experiment": name, "setting": args.setting, "device": device}
        rows.append({**row, "parameters": memory.parameters, **mib})
        print(
            f"{name} ({args.setting}, {device}): {memory.parameters} weights, "
            f"state {mib['state_mib']:.1f} MiB, batch {mib['batch_mib']:.1f} MiB, "
            f"temporary {mib['temporary_mib']:.1f} MiB",
            flush=True,
        )
    if args.out:
        args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
