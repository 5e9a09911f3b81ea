"""medjax's side: a compiled training step and a compiled restoration, and how they are timed."""

import math
import time
import zlib
from typing import Any

import jax
import numpy as np

from benchmarks.throughput.suite import Work
from medjax.build import method_of
from medjax.methods.base import Pair, Variables

# A round of a fast step runs it so often that the clock's own cost is lost in it.
ROUND_SECONDS = 0.2
MOST_REPEATS = 50


def repeats(seconds: float) -> int:
    """How often a step that takes so long runs in a round."""
    return min(MOST_REPEATS, max(1, math.ceil(ROUND_SECONDS / seconds)))


class Ours:
    """A row compiled for the first device, with its state and batch there.

    Args:
      work: the row.
      seed: of weights and images.
      compiler: XLA's options, where others than its own are wanted.

    Attributes:
      variables: the network's at the start, on the host: what PyTorch starts from too.
      key: of every step; steps differ by their state.
      compile_seconds: of the training step, tracing and lowering included; and of the restoration.
      memory: bytes by the compiler's account; None where it gives none.
    """

    def __init__(self, work: Work, seed: int = 0, compiler: dict[str, Any] | None = None):
        method = method_of(work.experiment)
        self.work, self.key = work, jax.random.key(seed)
        self.batch = jax.device_put(work.batch(seed))
        shapes = jax.eval_shape(method.init, self.key, Pair(work.degraded, work.clean))
        self._state = jax.device_put(drawn(shapes, seed))
        self.start: Any = jax.device_get(self._state)
        begin = time.perf_counter()
        stepping = jax.jit(method.step, donate_argnums=0).lower(self._state, self.batch, self.key)
        self._step = stepping.compile(compiler_options=compiler)
        between = time.perf_counter()
        restoring = jax.jit(method.restore).lower(self._state, self.batch.degraded)
        self._restore = restoring.compile(compiler_options=compiler)
        self.compile_seconds = (between - begin, time.perf_counter() - between)
        self.memory = _memory(self._step)

    @property
    def variables(self) -> Variables:
        return self.start.ema

    def first(self) -> tuple[dict[str, float], np.ndarray]:
        """The metrics of the first step, and what the network restores before it."""
        restored = np.asarray(self._restore(self._state, self.batch.degraded))
        self._state, metrics = self._step(self._state, self.batch, self.key)
        return {name: float(value) for name, value in metrics.items()}, restored

    def train(self, times: int) -> float:
        """Seconds a training step; the next one starts when the one before is under way."""
        begin = time.perf_counter()
        for _ in range(times):
            self._state, metrics = self._step(self._state, self.batch, self.key)
        jax.block_until_ready((self._state, metrics))
        return (time.perf_counter() - begin) / times

    def restore(self, times: int) -> float:
        """Seconds a restoration of the batch."""
        begin = time.perf_counter()
        for _ in range(times):
            restored = self._restore(self._state, self.batch.degraded)
        jax.block_until_ready(restored)
        return (time.perf_counter() - begin) / times


def drawn(shapes: Any, seed: int) -> Any:
    """A training state of these shapes with random weights, its optimisers at zero."""

    def draw(path: Any, like: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        if "variables" in name:
            return weights(name, like, seed)
        return np.zeros(like.shape, like.dtype)

    state = jax.tree_util.tree_map_with_path(draw, shapes)
    learner = state.generator if hasattr(state, "generator") else state.network
    return state.replace(ema=jax.tree.map(np.copy, learner.variables))


def weights(name: str, like: jax.ShapeDtypeStruct, seed: int) -> np.ndarray:
    """Random values of one leaf of a network's variables, made on the host.

    Every weight is drawn, those that start at zero too: an untrained residual network would return
    its input, and a comparison of two such would show nothing.

    Args:
      name: path of the leaf, which ends in its Flax name.
      like: its shape and type.
      seed: the same with the same name gives the same values.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    numbers = rng.normal(size=like.shape).astype(like.dtype)
    if name.endswith("['kernel']"):
        return numbers * np.float32(math.sqrt(2 / max(1, math.prod(like.shape[:-1]))))
    if name.endswith(("['scale']", "['var']")):
        return np.exp(0.1 * numbers).astype(like.dtype)
    return (0.1 * numbers).astype(like.dtype)


def _memory(compiled: Any) -> dict[str, int] | None:
    """Bytes of the step's arguments, results and temporaries; what is donated counts once."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    return {
        "arguments": plan.argument_size_in_bytes,
        "results": plan.output_size_in_bytes,
        "donated": plan.alias_size_in_bytes,
        "temporary": plan.temp_size_in_bytes,
        "code": plan.generated_code_size_in_bytes,
    }


def device_peak() -> int | None:
    """Most bytes that JAX held on the first device since the process began, where it knows."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
