"""How noisy scans are to a network, and how far their values reach: in training, and one scan's."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PyTree

from medjax.build import batches_of, fold, pairs_of
from medjax.data import catalog
from medjax.experiment import Experiment
from medjax.physics.noise_level import noise_level
from medjax.tasks.base import Task

# Of training: batches at most, and patches that are enough.
BATCHES, PATCHES = 16, 64
# Of a volume; noise differs little from one slice to the next.
SLICES = 8
# Of a patch or slice that shows less tissue, the noise is not that of tissue.
LEAST_INSIDE = 0.25
# Of the patches of training, at each end: a few show next to nothing but air or metal.
APART = 0.01
# Of a dataset, scans whose values are looked at.
RECORDS = 64
# In widths of the window [0, 1]: lung but not the air around a patient; more than bone.
DARK, BRIGHT = (-1.8, -0.6), 6.0


class Given(NamedTuple):
    """What a network was given in training; None where unknown."""

    noise: tuple[float, float] | None = None
    """Least and greatest noise level of a patch."""
    far: tuple[float, float] | None = None
    """Greatest shares of a slice's samples far below and far above the window."""


def trained_on(experiment: Experiment) -> Given:
    """The noise of patches as the experiment trains on them, and the values of their scans.

    Unknown where its task does not undo noise, or no patch shows enough.
    """
    task = experiment.task
    if not task.denoises:
        return Given()
    records = catalog.load(experiment.data.name).split("train")
    read_here = dataclasses.replace(experiment.data, threads=0)
    batches = batches_of(dataclasses.replace(experiment, data=read_here), records)
    pairs = jax.jit(pairs_of(experiment))
    found: list[float] = []
    for number in range(BATCHES):
        key = jax.random.fold_in(jax.random.key(experiment.seed), number)
        found.extend(_known(noise_of(_image(pairs(next(batches), key).degraded))))
        if len(found) >= PATCHES:
            break
    if not found:
        return Given()
    low, high = np.quantile(found, [APART, 1 - APART])
    picked = np.unique(np.linspace(0, len(records) - 1, RECORDS).astype(int))
    far = np.max([far_of(records[int(i)]["image"], task) for i in picked], axis=0)
    return Given((float(low), float(high)), (float(far[0]), float(far[1])))


@jax.jit
def noise_of(image: Float[Array, "batch *space channel"]) -> Float[Array, " batch"]:
    """The noise level of images in the values of networks, whose window is [0, 1].

    The median of `physics.noise_level` over the samples inside the window, of the first channel;
    NaN where these are few.
    """
    first = image[..., :1]
    inside = ((first > 0) & (first < 1)).reshape(len(image), -1)
    level = jnp.where(inside, noise_level(first).reshape(inside.shape), jnp.nan)
    few = jnp.mean(inside, axis=1, dtype=jnp.float32) < LEAST_INSIDE
    return jnp.where(few, jnp.nan, jnp.nanmedian(level, axis=1))


def level_of(scan: Float32[np.ndarray, "*axes"], task: Task) -> float | None:
    """The noise level of a scan, the median over some of its slices or volumes.

    None where none of them shows enough inside the window.
    """
    stack = scan.reshape(-1, *scan.shape[scan.ndim - task.dims :])
    picked = np.unique(np.linspace(0, len(stack) - 1, SLICES).astype(int))
    shown = (jnp.asarray(_shown(stack[i], task)[None, ..., None]) for i in picked)
    found = np.concatenate([_known(noise_of(fold(x, task.network_dims))) for x in shown])
    return float(np.median(found)) if found.size else None


def far_of(scan: Float32[np.ndarray, "*axes"], task: Task) -> tuple[float, float]:
    """The greatest shares of a slice's samples far below (`DARK`) and far above (`BRIGHT`)."""
    slices = _shown(scan, task).reshape(-1, *scan.shape[-2:])
    dark = ((slices > DARK[0]) & (slices < DARK[1])).mean(axis=(1, 2))
    return float(dark.max()), float((slices > BRIGHT).mean(axis=(1, 2)).max())


def _shown(scan: np.ndarray, task: Task) -> np.ndarray:
    """The scan in widths of the window that is shown."""
    low, high = task.display
    return (task.normalise(np.asarray(scan, np.float32))[0] - low) / (high - low)


def _known(noise: Array) -> np.ndarray:
    values = np.asarray(noise)
    return values[np.isfinite(values)]


def _image(degraded: PyTree) -> Float[Array, "batch *space channel"]:
    return degraded["image"] if isinstance(degraded, Mapping) else degraded
