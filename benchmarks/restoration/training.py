"""Trains the networks of a suite, or goes on where a run was stopped."""

import dataclasses
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.restoration.suites import Entry
from medjax import run
from medjax.build import fold
from medjax.experiment import Experiment, find, load
from medjax.models.cost import Shape, multiply_adds
from medjax.models.size import parameters
from medjax.tasks.base import each_axis
from medjax.tasks.ldct_projections import LowDoseProjections
from medjax.train.writers import read_metrics


class Network(NamedTuple):
    """One trained network with what it cost (see `cost`)."""

    entry: Entry
    seed: int
    experiment: Experiment
    restore: run.Restore
    cost: dict[str, Any]


def planned(entry: Entry, setting: str, seed: int, steps: int | None) -> Experiment:
    """The experiment of an entry under a seed."""
    experiment = load(find(entry.experiment), setting)
    experiment = dataclasses.replace(experiment, seed=seed, **entry.change)
    if steps is None:
        return experiment
    schedule = dataclasses.replace(experiment.schedule, steps=steps)
    return dataclasses.replace(experiment, schedule=schedule)


def trained(entry: Entry, setting: str, seed: int, steps: int | None, runs: Path) -> Network:
    """Trains an entry in its own run folder, from its newest checkpoint if there is one."""
    experiment = planned(entry, setting, seed, steps)
    folder = folder_of(entry, seed, runs)
    sys.stderr.write(f"{entry.name}, seed {seed}: {folder}\n")
    result = run.train(experiment, folder)
    if result.interrupted:
        sys.stderr.write(f"stopped; all is saved in {runs}; the same command goes on\n")
        sys.exit(0)
    if result.step_seconds is not None:
        run.write_pace(folder, result)
    opened = run.open_run(folder, experiment)
    rows = read_metrics(folder)
    spent = {
        **(run.read_pace(folder) or {}),
        "training_seconds": rows[-1].seconds if rows else None,
    }
    return Network(entry, seed, experiment, opened.restore, cost(experiment, spent))


def sees_rays(network: Network) -> bool:
    """Whether the network takes a CT slice's projections beside the image."""
    task = network.experiment.task
    return isinstance(task, LowDoseProjections) and task.dual


def folder_of(entry: Entry, seed: int, runs: Path) -> Path:
    """The run folder of an entry under a seed."""
    name = re.sub(r"[^\w-]", "", "-".join(entry.name.split()))
    return runs / f"{entry.experiment}-{name}-{seed}"


def cost(experiment: Experiment, spent: Mapping[str, Any]) -> dict[str, Any]:
    """What the experiment's network costs in parameters and multiply-adds, and what was spent.

    Args:
      experiment: tells network, task and patch.
      spent: by a run: "images_per_second" and "device" as `run.read_pace` knows them;
        "training_seconds", those of the training loop with all that it waits for, without
        compiling; and what else there is to tell.
    """
    task, config = experiment.task, experiment.network
    patch = each_axis(experiment.data.patch, task.dims)[task.dims - task.network_dims :]
    shape = input_shape(experiment)
    adds = multiply_adds(config, shape)
    return {
        "parameters": parameters(config, shape),
        "kilo_flop_per_sample": 2 * adds / math.prod(patch) / 1e3,
        **spent,
    }


def input_shape(experiment: Experiment) -> Shape:
    """Of what the network is given for one patch: the degraded image and its conditions."""
    task = experiment.task
    blank = jnp.zeros((1, *each_axis(experiment.data.patch, task.dims), 1))
    given = jax.eval_shape(lambda x: fold(task.encode(x), task.network_dims), blank)
    if isinstance(given, Mapping):
        return {name: (1, *leaf.shape[1:]) for name, leaf in given.items()}
    return (1, *given.shape[1:])
