"""One training step on N fake devices, in a process of its own.

Prints a JSON object: for each way to run the step its milliseconds, its collectives, and how far
its numbers are from those of one device.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

SMALLEST = 2**10


@dataclasses.dataclass(frozen=True)
class Work:
    """What is trained: images `[batch, size, size, 1]` by a plain CNN.

    Attributes:
      devices: fake ones.
      batch: images over all devices.
      size: pixels along a side.
      width: channels.
      layers: convolutions.
      steps: timed, after two that are not.
    """

    devices: int
    batch: int
    size: int
    width: int
    layers: int
    steps: int


def measure(work: Work) -> dict[str, Any]:
    """The step under jit with the batch split, its state too, with the image split; under pmap.

    SGD with momentum: Adam's first steps divide rounding by rounding, and nothing would compare.

    Raises:
      ValueError: numbers differ between the ways by more than rounding.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from medjax.methods.base import Method, Pair
    from medjax.methods.regression import regression
    from medjax.models.plain_cnn import PlainCNNConfig
    from medjax.train import mesh as meshes
    from medjax.train import pmap

    network = PlainCNNConfig(width=work.width, layers=work.layers, residual=True).build()
    optimizer = optax.sgd(0.01, momentum=0.9)
    method = regression(network, optimizer)
    shared = regression(network, optimizer, axis_name=pmap.AXIS)
    rng = np.random.default_rng(0)
    clean = rng.random((work.batch, work.size, work.size, 1), np.float32)
    noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
    key = jax.random.key(0)
    first = Pair(jnp.asarray(noisy[:1]), jnp.asarray(clean[:1]))
    like = jax.eval_shape(method.init, key, first)

    def step(state: Any, batch: dict[str, Any], key: Any, method: Method = method) -> Any:
        return method.step(state, Pair(batch["noisy"], batch["clean"]), key)

    def fresh() -> Any:
        return jax.jit(method.init)(key, first)

    batch = {"noisy": noisy, "clean": clean}

    def jitted(
        data: int, space: int, place: Callable[[Any, Any], Any] = meshes.state_sharding
    ) -> tuple[Any, Any, Any]:
        mesh = meshes.make(data, space)
        places = place(mesh, like)
        run = jax.jit(step, donate_argnums=0, out_shardings=(places, meshes.replicated(mesh)))
        state = jax.device_put(fresh(), places)
        placed = meshes.put(batch, meshes.batch_sharding(mesh, batch))
        return run, state, placed

    # The network is a small one, so that leaves are split that in a large one would be whole.
    split_state = functools.partial(meshes.fully_sharded, smallest=SMALLEST)

    def pmapped() -> tuple[Any, Any, Any]:
        state = pmap.replicate(fresh(), work.devices)
        run = pmap.pmapped(functools.partial(step, method=shared))
        return run, state, pmap.split(batch, work.devices)

    reference = _run(*jitted(1, 1), key, work, _weights)
    ways: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
        "jit, batch split": lambda: jitted(work.devices, 1)
    }
    if work.devices > 1:
        ways["jit, batch and state split"] = lambda: jitted(work.devices, 1, split_state)
        ways["jit, image split"] = lambda: jitted(1, work.devices)
        ways["pmap"] = pmapped
    rows = {}
    for name, make in ways.items():
        row = _run(*make(), key, work, _weights if name != "pmap" else _one)
        rows[name] = _compared(name, row, reference)
    return {
        "work": dataclasses.asdict(work),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(like.ema)),
        "ways": rows,
    }


def _weights(state: Any) -> list[Any]:
    import jax

    return [jax.device_get(leaf) for leaf in jax.tree.leaves(state.network.variables["params"])]


def _one(state: Any) -> list[Any]:
    return [leaf[0] for leaf in _weights(state)]


def _run(
    run: Any, state: Any, batch: Any, key: Any, work: Work, read: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    import jax

    from benchmarks.scaling.collectives import collectives, total

    compiled = run.lower(state, batch, key).compile()
    seconds = []
    for index in range(work.steps + 2):
        begin = time.perf_counter()
        state, metrics = compiled(state, batch, key)
        jax.block_until_ready((state, metrics))
        if index >= 2:
            seconds.append(time.perf_counter() - begin)
    return {
        "milliseconds": 1e3 * statistics.median(seconds),
        "collectives": total(collectives(compiled.as_text(), work.devices)),
        "weights": read(state),
    }


def _compared(name: str, row: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    pairs = list(zip(row.pop("weights"), reference["weights"], strict=True))
    scale = max(float(np.abs(wanted).max()) for _, wanted in pairs)
    off = max(float(np.abs(found - wanted).max()) for found, wanted in pairs) / scale
    if off > 1e-5:
        raise ValueError(f"{name}: weights are {off:.1e} of the largest off those of one device")
    return {**row, "difference": off}


def main() -> None:
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(Work):
        parser.add_argument(f"--{field.name}", type=int, required=True)
    work = Work(**vars(parser.parse_args()))
    # A process of its own, because JAX counts its devices once.
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={work.devices}"
    json.dump(measure(work), sys.stdout)


if __name__ == "__main__":
    main()
