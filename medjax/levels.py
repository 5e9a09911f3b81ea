"""How noisy scans are to a network, and how far their values reach: in training, and one scan's."""

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
# In widths of the window [0, 1]: lung but not the air around a patient; more than bone.
DARK, BRIGHT = (-1.8, -0.6), 6.0


class Look(NamedTuple):
    """What of images differs from one kind of scan to another: of each of a batch, or of a scan."""

    noise: Float[Array, " batch"] | float
    """The median of `physics.noise_level` over the samples inside the window; NaN where these are
    few."""
    dark: Float[Array, " batch"] | float
    """The share of samples far below the window (`DARK`)."""
    bright: Float[Array, " batch"] | float
    """The share of samples far above it (`BRIGHT`)."""


class Given(NamedTuple):
    """What a network was given in training; None where unknown."""

    noise: tuple[float, float] | None = None
    """Least and greatest noise level of a patch."""
    far: tuple[float, float] | None = None
    """Greatest shares of a patch's samples far below and far above the window."""


@jax.jit
def look(image: Float[Array, "batch *space channel"]) -> Look:
    """Of the images' first channel, in the values of networks: the window is [0, 1]."""
    first = image[..., :1]
    inside = (first > 0) & (first < 1)

    def share(where: Array) -> Array:
        return jnp.mean(where.reshape(len(image), -1), axis=1, dtype=jnp.float32)

    level = jnp.where(inside, noise_level(first), jnp.nan).reshape(len(image), -1)
    noise = jnp.where(share(inside) < LEAST_INSIDE, jnp.nan, jnp.nanmedian(level, axis=1))
    dark = (first > DARK[0]) & (first < DARK[1])
    return Look(noise, share(dark), share(first > BRIGHT))


def trained_on(experiment: Experiment) -> Given:
    """The ranges of patches as the experiment trains on them.

    Unknown where its task does not undo noise, or no patch shows enough.
    """
    if not experiment.task.denoises:
        return Given()
    records = catalog.load(experiment.data.name).split("train")
    batches, pairs = batches_of(experiment, records, threads=0), jax.jit(pairs_of(experiment))
    looks, enough = [], 0
    for number in range(BATCHES):
        key = jax.random.fold_in(jax.random.key(experiment.seed), number)
        looks.append(look(_image(pairs(next(batches), key).degraded)))
        enough += int(np.isfinite(looks[-1].noise).sum())
        if enough >= PATCHES:
            break
    if not enough:
        return Given()
    noise, dark, bright = (np.concatenate(x) for x in zip(*looks, strict=True))
    low, high = np.nanquantile(noise, [APART, 1 - APART])
    return Given((float(low), float(high)), (float(dark.max()), float(bright.max())))


def look_of(scan: Float32[np.ndarray, "*axes"], task: Task) -> Look:
    """Of some slices or volumes of a scan: the median noise, NaN where all show too little inside;
    the greatest shares."""
    stack = scan.reshape(-1, *scan.shape[scan.ndim - task.dims :])
    picked = np.unique(np.linspace(0, len(stack) - 1, SLICES).astype(int))
    low, high = task.display
    shown = ((task.normalise(stack[i])[0][None, ..., None] - low) / (high - low) for i in picked)
    looks = [look(fold(jnp.asarray(x), task.network_dims)) for x in shown]
    noise, dark, bright = (np.concatenate(x) for x in zip(*looks, strict=True))
    known = noise[np.isfinite(noise)]
    middle = float(np.median(known)) if known.size else float("nan")
    return Look(middle, float(dark.max()), float(bright.max()))


def _image(degraded: PyTree) -> Float[Array, "batch *space channel"]:
    return degraded["image"] if isinstance(degraded, Mapping) else degraded
