"""Who is compared: filters, networks that never met the patient, and one fine-tuned to the scanner.

"Never met" are the published experiments, trained on the slices that come with pydicom. The
fine-tuned network goes on from one of them on other slices of this scan, by the sharp kernel alone
(`experiments/ldct_self_supervised_chest.py`): no soft kernel, no clean target, no slice that is
judged.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from benchmarks.ldct.suite import installed
from benchmarks.restoration.measuring import CASE_SEED
from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import planned
from medjax import run
from medjax.baselines.filters import Baseline, named
from medjax.data import catalog, samples
from medjax.evaluate import tuned
from medjax.experiment import Experiment
from medjax.metrics.column import Kind
from medjax.tasks.ldct import LowDoseCT

ENTRIES = (Entry("cGAN", "ldct_cgan"), Entry("RDAE", "ldct_rdae"))
FINE_TUNING = "ldct_self_supervised_chest"
# Of the filters' choices the nearest to a kernel that is told to be sharp and no more.
KERNEL = "ramp"


class Contender(NamedTuple):
    """One row: `restore` takes a sharp slice to a restored one, HU, [y, x]."""

    name: str
    kind: Kind
    restore: Callable[[Float32[np.ndarray, "y x"]], Float32[np.ndarray, "y x"]]


class Network(NamedTuple):
    """A trained run by the name of its row."""

    name: str
    folder: Path
    trained: run.Trained


def classical(names: Sequence[str]) -> list[Contender]:
    """The filters, tuned on simulated scans of other patients; they estimate the noise level."""
    task = LowDoseCT(filter=KERNEL)
    filters: Sequence[Baseline] = [
        f.with_parameters(noise=KERNEL) if f.name == "BM3D" else f
        for f in named(installed(names), task.display)
    ]
    if any(f.grid for f in filters):
        training = catalog.load(samples.NAME).split("train")[:2]
        filters = tuned(filters, task, training, CASE_SEED - 1)
    return [Contender(f.name, "classical", f.run) for f in filters]


def supervised(entry: Entry, setting: str, seed: int, steps: int | None, runs: Path) -> Network:
    """A published experiment, trained in its run folder or opened from it."""
    experiment = planned(entry, setting, seed, steps)
    return _trained(entry.name, experiment, runs / f"{entry.experiment}-{seed}")


def opened(name: str, folder: Path) -> Network:
    """A run of the user's own."""
    return Network(name, folder, run.open_run(folder))


def fine_tuned(start: Network, setting: str, seed: int, steps: int | None, runs: Path) -> Network:
    """A network taken on to the sharp scan's noise without clean scans."""
    experiment = dataclasses.replace(
        planned(Entry(start.name, FINE_TUNING), setting, seed, steps),
        network=start.trained.experiment.network,
        start=str(start.folder),
    )
    name = f"{start.name}, fine-tuned"
    return _trained(name, experiment, runs / f"{FINE_TUNING}-{start.name}-{seed}")


def row(network: Network) -> Contender:
    """What the network makes of a slice."""
    return Contender(network.name, "network", network.trained.restore)


def _trained(name: str, experiment: Experiment, folder: Path) -> Network:
    sys.stderr.write(f"{name}: {folder}\n")
    result = run.train(experiment, folder)
    if result.interrupted:
        sys.stderr.write(f"stopped; all is saved in {folder}; the same command goes on\n")
        sys.exit(0)
    return Network(name, folder, run.open_run(folder, experiment))
