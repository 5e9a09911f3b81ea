"""One compiled step with donated state and explicit shardings, for `loop.fit`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from medjax.train import mesh as meshes
from medjax.train import rng, share
from medjax.train.processes import several

State = Any
Metrics = dict[str, Array]
Init = Callable[[Key[Array, ""], Any], State]
Step = Callable[[State, Any, Key[Array, ""]], tuple[State, Metrics]]
Run = Callable[..., tuple[State, Metrics]]
"""`(state, batch, steps done, asked to stop=False) -> (state, metrics)`."""
ASKED = "asked to stop"
"""A metric beside the step's own where several processes run it: 1 once any was asked to stop."""
# XLA's CPU compiler takes out the barriers around what `jax.checkpoint` computes again, and then
# merges it with the first computation; without that pass recomputation saves memory there too.
_OPTIONS: dict[str, dict[str, str | bool]] = {
    "cpu": {"xla_disable_hlo_passes": "cse_barrier_expander"}
}


@dataclass(frozen=True)
class Program:
    """How one run starts and steps, bound to its mesh, seed and batch shape.

    `rows` are those of the global batch, shaped `batch_like`, that this process puts on devices.
    """

    mesh: Mesh
    seed: int
    like: State
    batch_like: dict[str, jax.ShapeDtypeStruct]
    rows: tuple[int, ...]
    _init: Callable[..., State]
    _step: Step

    def put(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        """Moves a batch, or this process's rows of it, to the devices.

        Raises:
            ValueError: it differs in names, shapes or types from the first; the step would have
                to be compiled again.
        """
        found = {name: (np.shape(array), _dtype(name, array)) for name, array in batch.items()}
        wanted = {
            name: ((len(self.rows), *like.shape[1:]), like.dtype)
            for name, like in self.batch_like.items()
        }
        for name in [*wanted, *(name for name in found if name not in wanted)]:
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"batch[{name!r}] is {found.get(name)}, the first batch had "
                    f"{wanted.get(name)}; drop the remainder when batching"
                )
        return share.put(batch, self.batch_like, self.rows)

    def start(self, batch: Mapping[str, Array]) -> State:
        """A fresh state, made where its shards live."""
        return self._init(rng.stream(self.seed, "init", 0), batch)

    def compiled(self, options: Mapping[str, str | bool] | None = None) -> jax.stages.Compiled:
        """The step compiled ahead of time, from shapes alone, so no later call can compile again.

        Takes state (donated), batch, root key and steps done. Where several processes run it, also
        whether each was asked to stop, and whether any was comes back as a metric: so they agree
        without a message of its own, and read the answer when they read the metrics.

        Args:
            options: of XLA's compiler, beside those that the platform needs.
        """
        everywhere = meshes.replicated(self.mesh)

        def train_step(state: State, batch: Any, root: Key[Array, ""], done: Array, *asked: Array):
            state, metrics = self._step(state, batch, jax.random.fold_in(root, done))
            return state, {**metrics, ASKED: asked[0].max()} if asked else metrics

        key = jax.eval_shape(lambda: rng.root(self.seed, "train"))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=everywhere)
        count = jax.ShapeDtypeStruct((), np.int32, sharding=everywhere)
        asked = (share.asked_like(self.mesh),) if several() else ()
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.like)
        platform = self.mesh.devices.flat[0].platform
        return (
            jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, everywhere))
            .lower(self.like, self.batch_like, key, count, *asked)
            .compile(compiler_options={**_OPTIONS.get(platform, {}), **(options or {})})
        )

    def bind(self, compiled: jax.stages.Compiled) -> Run:
        """What `compiled` gave, with all its inputs but the run's own."""
        everywhere = meshes.replicated(self.mesh)
        key = jax.jit(lambda: rng.root(self.seed, "train"), out_shardings=everywhere)()

        def run(state: State, batch: Mapping[str, Array], done: int, asked: bool = False) -> Any:
            count = share.place(np.int32(done), everywhere)
            more = (share.asked(self.mesh, asked),) if several() else ()
            return compiled(state, batch, key, count, *more)

        return run

    def compile(self) -> tuple[Run, float]:
        """The step, bound, and seconds to compile it."""
        begin = time.perf_counter()
        compiled = self.compiled()
        return self.bind(compiled), time.perf_counter() - begin


def program(
    init: Init,
    step: Step,
    batch: Mapping[str, Any],
    *,
    mesh: Mesh,
    seed: int,
    state_sharding: Callable[[Mesh, State], State] = meshes.state_sharding,
) -> Program:
    """Binds `init` and `step` to a mesh, a seed and the shape of `batch`; computes nothing yet.

    Of `batch` shapes and types count: `jax.ShapeDtypeStruct` will do. Of several processes each
    gives its rows.

    Raises:
        UserError: the batch does not divide among the devices.
        ValueError: `step` changes the state's structure, or returns metrics that are not scalars.
    """

    # Weak types differ between a fresh and a stepped state, and would cost a second compilation.
    def strong(key: Key[Array, ""], batch: Any) -> State:
        return jax.tree.map(
            lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), init(key, batch)
        )

    wholes = share.whole(mesh, batch)
    placed = meshes.batch_sharding(mesh, wholes)
    batch_like = {
        name: jax.ShapeDtypeStruct(like.shape, _dtype(name, batch[name]), sharding=placed[name])
        for name, like in wholes.items()
    }
    rows = share.rows(mesh, next(iter(wholes.values())).shape[0])
    shapes = jax.eval_shape(strong, rng.root(seed, "init"), batch_like)
    shardings = state_sharding(mesh, shapes)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        shardings,
    )
    _check_step(step, like, batch_like, seed)
    start = jax.jit(strong, out_shardings=shardings)
    return Program(mesh, seed, like, batch_like, rows, start, step)


def _check_step(step: Step, like: State, batch_like: Any, seed: int) -> None:
    state, metrics = jax.eval_shape(step, like, batch_like, rng.root(seed, "train"))
    if jax.tree.structure(state) != jax.tree.structure(like):
        raise ValueError("step returns a state of another structure than init")
    for (path, old), new in zip(
        jax.tree_util.tree_flatten_with_path(like)[0], jax.tree.leaves(state), strict=True
    ):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            name = jax.tree_util.keystr(path)
            was, now = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (old, new))
            raise ValueError(f"state{name}: init gives {was}, step gives {now}")
    for name, value in metrics.items():
        if value.shape != ():
            raise ValueError(f"metrics[{name!r}] has shape {value.shape}; metrics are scalars")


def _dtype(name: str, array: Any) -> np.dtype:
    """The type that the array will have on the device."""
    dtype = np.dtype(array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype)
    if dtype.kind in "OSUMm":
        raise ValueError(f"batch[{name!r}] holds {dtype}, which no device can; leave it out")
    return jax.dtypes.canonicalize_dtype(dtype)
