"""A trained run, opened for use: its newest good checkpoint as functions on physical values."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PyTree

from medjax import calibrate
from medjax.build import fold, method_of
from medjax.errors import UserError
from medjax.evaluate import ensemble, mirror_ensemble, restore_tiled
from medjax.experiment import Experiment, read
from medjax.losses.likelihood import Law
from medjax.methods.base import Pair
from medjax.seen import NOTHING, Seen, recall
from medjax.tasks.base import each_axis
from medjax.train import mesh as meshes
from medjax.train.checkpoint import Checkpoints
from medjax.train.loop import CHECKPOINTS

EXPERIMENT = "experiment.json"
Restore = Callable[[Any], Float32[np.ndarray, "*space"]]


class Trained(NamedTuple):
    """A run opened for use."""

    experiment: Experiment
    step: int
    restore: Restore
    """`[*space]` in the task's unit to the same, in overlapping tiles; a `Case.given` at once."""
    draw: Callable[[int], Restore] | None
    """`draw(seed)` restores at random, each seed otherwise, where the method can."""
    state: Any
    seen: Seen = NOTHING
    """What scans it learned from."""
    std: Restore | None = None
    """Standard deviation of the restoration's error in the task's unit, where the method can."""
    law: Law = "gaussian"
    """How errors scatter by `std`."""
    stretch: float | None = None
    """The factor on `std` that other scans asked for; None where `evaluate` found none yet."""

    @property
    def spread(self) -> Restore | None:
        """`std`, stretched."""
        std, stretch = self.std, np.float32(self.stretch or 1)
        return None if std is None else lambda given: stretch * std(given)


def open_run(folder: Path, experiment: Experiment | None = None) -> Trained:
    """The newest good checkpoint of a run folder as a function on physical values.

    Args:
      folder: that `train` filled.
      experiment: as it was trained, where its classes are not medjax's own; by default what
        the folder's experiment.json says.

    Raises:
      UserError: the folder is no run, or has no checkpoint that verifies.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file and no run folder; give one that train made")
    experiment = experiment or _described(folder / EXPERIMENT)
    task, method = experiment.task, method_of(experiment)
    blank = jnp.zeros((1, *each_axis(experiment.data.patch, task.dims), 1))

    def encode(x: PyTree) -> PyTree:
        return fold(task.encode(x), task.network_dims)

    like = jax.eval_shape(
        lambda key, x: method.init(key, Pair(encode(x), fold(x, task.network_dims))),
        jax.random.key(0),
        blank,
    )
    mesh = meshes.alone()
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        like,
        meshes.state_sharding(mesh, like),
    )
    with Checkpoints(folder / CHECKPOINTS, identity=None, read_only=True) as checkpoints:
        found = checkpoints.restore_state("newest", like)

    def decode(folded: Array, tiles: PyTree) -> Array:
        image = tiles["image"] if isinstance(tiles, Mapping) else tiles
        return task.decode(folded.reshape(*image.shape[:-1], folded.shape[-1]))

    def mirrored(once: Callable[[Any], Array], tiles: Any) -> Array:
        if not experiment.tiling.ensemble:
            return once(tiles)
        if not isinstance(tiles, Mapping):
            return ensemble(once, tiles)
        return mirror_ensemble(once, tiles, task.mirror) if task.mirrors else once(tiles)

    @jax.jit
    def restore_tiles(state: Any, tiles: Any) -> Array:
        return mirrored(lambda tiles: decode(method.restore(state, encode(tiles)), tiles), tiles)

    @jax.jit
    def std_tiles(state: Any, tiles: Any) -> Array:
        def once(tiles: Any) -> Array:
            assert method.spread is not None
            std = method.spread.std(state, encode(tiles))
            # What decodes a value may shift it, and a deviation has no zero to shift.
            return decode(std, tiles) - decode(jnp.zeros_like(std), tiles)

        return mirrored(once, tiles)

    @jax.jit
    def draw_tiles(state: Any, tiles: PyTree, key: Array) -> Array:
        assert method.draw is not None
        return decode(method.draw(state, encode(tiles), key), tiles)

    def tiled(restore: Callable[[PyTree], Array]) -> Restore:
        def run(given: Any) -> Float32[np.ndarray, "*space"]:
            if not isinstance(given, Mapping):
                return restore_tiled(restore, given, experiment.tiling)
            size = each_axis(experiment.tiling.size, task.dims)
            if (cutter := task.cutter(given, size)) is None:
                return np.asarray(restore(batch_of_one(given)))[0, ..., 0]
            return restore_tiled(restore, given["image"], experiment.tiling, cutter)

        return run

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
        _seen(folder),
        None if method.spread is None else tiled(lambda tiles: std_tiles(found.state, tiles)),
        "gaussian" if method.spread is None else method.spread.law,
        calibrate.recall(folder, found.step),
    )


def _described(path: Path) -> Experiment:
    try:
        return read(path)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a value in it is not one that train writes ({error}); restore it from a copy"
        ) from error


def _seen(folder: Path) -> Seen:
    try:
        description = json.loads((folder / EXPERIMENT).read_text())
    except (OSError, ValueError):
        # An Experiment that the caller brings needs no experiment.json.
        description = {}
    return recall(folder, description)


def batch_of_one(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a `Case.given` with batch and channel; numbers get the batch alone."""
    return {
        k: v[None] if np.ndim(v) == 0 else np.asarray(v)[None, ..., None] for k, v in given.items()
    }
