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
from medjax.train import rng

State = Any
Metrics = dict[str, Array]
Init = Callable[[Key[Array, ""], Any], State]
Step = Callable[[State, Any, Key[Array, ""]], tuple[State, Metrics]]


@dataclass(frozen=True)
class Program:
    """How one run starts and steps, bound to its mesh, seed and batch shape."""

    mesh: Mesh
    seed: int
    like: State
    batch_like: dict[str, jax.ShapeDtypeStruct]
    _init: Callable[..., State]
    _step: Step

    def put(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        """Moves a batch to the devices.

        Raises:
            ValueError: it differs in names, shapes or types from the first; the step would have
                to be compiled again.
        """
        found = {name: (np.shape(array), _dtype(name, array)) for name, array in batch.items()}
        wanted = {name: (like.shape, like.dtype) for name, like in self.batch_like.items()}
        for name in [*wanted, *(name for name in found if name not in wanted)]:
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"batch[{name!r}] is {found.get(name)}, the first batch had "
                    f"{wanted.get(name)}; drop the remainder when batching"
                )
        shardings = {name: like.sharding for name, like in self.batch_like.items()}
        return meshes.put(batch, shardings)

    def start(self, batch: Mapping[str, Array]) -> State:
        """A fresh state, made where its shards live."""
        return self._init(rng.stream(self.seed, "init", 0), batch)

    def executable(self) -> jax.stages.Compiled:
        """The step compiled ahead of time, as `(state, batch, key, steps done)`; state donated."""
        everywhere = meshes.replicated(self.mesh)

        def train_step(state: State, batch: Any, root: Key[Array, ""], done: Array) -> Any:
            return self._step(state, batch, jax.random.fold_in(root, done))

        key = _abstract(jax.eval_shape(lambda: rng.root(self.seed, "train")), everywhere)
        count = jax.ShapeDtypeStruct((), np.int32, sharding=everywhere)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.like)
        return (
            jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, everywhere))
            .lower(self.like, self.batch_like, key, count)
            .compile()
        )

    def bind(
        self, executable: jax.stages.Compiled
    ) -> Callable[[State, Mapping[str, Array], int], Any]:
        """What `executable` gave, as `(state, batch, steps done) -> (state, metrics)`."""
        everywhere = meshes.replicated(self.mesh)
        key = jax.device_put(rng.root(self.seed, "train"), everywhere)

        def call(state: State, batch: Mapping[str, Array], done: int) -> Any:
            return executable(state, batch, key, jax.device_put(np.int32(done), everywhere))

        return call

    def compile(self) -> tuple[Callable[[State, Mapping[str, Array], int], Any], float]:
        """`bind` of a fresh `executable`, and seconds to compile it.

        Compiled ahead of time, so no later call can compile again.
        """
        begin = time.perf_counter()
        executable = self.executable()
        return self.bind(executable), time.perf_counter() - begin


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

    Raises:
        UserError: the batch does not divide among the devices.
        ValueError: `step` changes the state's structure, or returns metrics that are not scalars.
    """

    # Weak types differ between a fresh and a stepped state, and would cost a second compilation.
    def strong(key: Key[Array, ""], batch: Any) -> State:
        return jax.tree.map(
            lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), init(key, batch)
        )

    placed = meshes.batch_sharding(mesh, batch)
    batch_like = {
        name: jax.ShapeDtypeStruct(
            np.shape(array),
            _dtype(name, array),
            sharding=placed[name],
        )
        for name, array in batch.items()
    }
    shapes = jax.eval_shape(strong, rng.root(seed, "init"), batch_like)
    shardings = state_sharding(mesh, shapes)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        shardings,
    )
    _check_step(step, like, batch_like, seed)
    return Program(mesh, seed, like, batch_like, jax.jit(strong, out_shardings=shardings), step)


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


def _abstract(array: Array, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _dtype(name: str, array: Any) -> np.dtype:
    """The type that the array will have on the device."""
    dtype = np.asarray(array).dtype
    if dtype.kind in "OSUMm":
        raise ValueError(f"batch[{name!r}] holds {dtype}, which no device can; leave it out")
    return jax.dtypes.canonicalize_dtype(dtype)
