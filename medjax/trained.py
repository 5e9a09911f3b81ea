"""A trained run, opened for use: its newest good checkpoint as functions on physical values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from medjax.build import fold, method_of
from medjax.evaluate import ensemble, restore_tiled
from medjax.experiment import Experiment, read
from medjax.methods.base import Pair
from medjax.tasks.base import each_axis
from medjax.train import mesh as meshes
from medjax.train.checkpoint import Checkpoints
from medjax.train.loop import CHECKPOINTS

EXPERIMENT = "experiment.json"
Restore = Callable[[Float32[np.ndarray, "*space"]], Float32[np.ndarray, "*space"]]


class Trained(NamedTuple):
    """A run opened for use."""

    experiment: Experiment
    step: int
    restore: Restore
    """`[*space]` in the task's unit to the same, in overlapping tiles."""
    draw: Callable[[int], Restore] | None
    """`draw(seed)` restores at random, each seed otherwise, where the method can."""
    state: Any


def open_run(folder: Path, experiment: Experiment | None = None) -> Trained:
    """The newest good checkpoint of a run folder as a function on physical values.

    Args:
      folder: that `train` filled.
      experiment: as it was trained, where its classes are not medjax's own; by default what
        the folder's experiment.json says.

    Raises:
      UserError: the folder is no run, or has no checkpoint that verifies.
    """
    experiment = experiment or read(folder / EXPERIMENT)
    task, method = experiment.task, method_of(experiment)
    blank = jnp.zeros((1, *each_axis(experiment.data.patch, task.dims), 1))

    def encode(x: Array) -> Array:
        return fold(task.encode(x), task.network_dims)

    like = jax.eval_shape(
        lambda key, x: method.init(key, Pair(encode(x), fold(x, task.network_dims))),
        jax.random.key(0),
        blank,
    )
    mesh = meshes.make(1)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        like,
        meshes.state_sharding(mesh, like),
    )
    with Checkpoints(folder / CHECKPOINTS, identity=None, read_only=True) as checkpoints:
        found = checkpoints.restore_state("newest", like)

    def decode(folded: Array, tiles: Array) -> Array:
        return task.decode(folded.reshape(*tiles.shape[:-1], folded.shape[-1]))

    @jax.jit
    def restore_tiles(state: Any, tiles: Array) -> Array:
        def once(tiles: Array) -> Array:
            return decode(method.restore(state, encode(tiles)), tiles)

        return ensemble(once, tiles) if experiment.tiling.ensemble else once(tiles)

    @jax.jit
    def draw_tiles(state: Any, tiles: Array, key: Array) -> Array:
        assert method.draw is not None
        return decode(method.draw(state, encode(tiles), key), tiles)

    def tiled(restore: Callable[[Array], Array]) -> Restore:
        return lambda image: restore_tiled(restore, image, experiment.tiling)

    def draw(seed: int) -> Restore:
        key = jax.random.key(seed)
        # One key for all tiles: where they overlap they then show the same draw more nearly.
        return tiled(lambda tiles: draw_tiles(found.state, tiles, key))

    return Trained(
        experiment,
        found.step,
        tiled(lambda tiles: restore_tiles(found.state, tiles)),
        None if method.draw is None else draw,
        found.state,
    )
