"""A small real run: a convolution trained by Adam on a shuffled, augmented Grain dataset.

    python toy_run.py RUN [--steps N] [--kill-at EVENT] [--slow SECONDS]
                          [--devices N] [--space N] [--sharded] [--join HOST:PORT,INDEX/COUNT]

trains in RUN as a user's script would, on N fake devices, alone or as one of several processes,
with images split over `--space` of them, and a state that is sharded over the others or is not;
writes RUN/final.sha256 and final.npz when it is done.
"""

import argparse
import functools
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from medjax.errors import UserError
from medjax.train import digest, loop, mesh, processes, schedule, share

STEPS = 24
SAVE_EVERY = 4


class State(NamedTuple):
    params: Any
    moments: Any
    batches_seen: jax.Array


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        # A uniform start compiles in a fraction of the time of Flax's truncated normal.
        start = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
        hidden = nn.relu(nn.Conv(4, (3, 3), kernel_init=start)(x))
        return x + nn.Conv(1, (3, 3), kernel_init=start)(hidden)


NET = Net()
OPTIMIZER = optax.adam(schedule.cosine(STEPS, peak=1e-2, end=1e-4))


class Flip(grain.transforms.RandomMap):
    def random_map(self, element, rng):
        return {**element, "image": element["image"][:: rng.choice([-1, 1])].copy()}


def dataset(threads: int = 2, prefetch: int = 8, batch: int = 8) -> grain.IterDataset:
    images = np.random.default_rng(3).normal(size=(40, 8, 8, 1)).astype(np.float32)
    source = [{"image": image, "index": np.int32(i)} for i, image in enumerate(images)]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return (
        grain.MapDataset.source(source)
        .seed(7)
        .shuffle()
        .repeat()
        .random_map(Flip())
        .to_iter_dataset(options)
        .batch(batch, drop_remainder=True)
    )


def init(key, batch):
    params = NET.init(key, batch["image"])
    return State(params, OPTIMIZER.init(params), jnp.zeros((), jnp.int32))


def step(state, batch, key):
    noise = 0.3 * jax.random.normal(key, batch["image"].shape)

    def loss_of(params):
        return jnp.mean((NET.apply(params, batch["image"] + noise) - batch["image"]) ** 2)

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    # Optax raises a Python float to the power of an int32 count.
    with jax.numpy_dtype_promotion("standard"):
        update, moments = OPTIMIZER.update(gradient, state.moments, state.params)
    params = optax.apply_updates(state.params, update)
    metrics = {"loss": loss, "first": batch["index"][0]}
    return State(params, moments, state.batches_seen + 1), metrics


def fit(run: Path, **changes: Any) -> loop.FitResult:
    settings: dict[str, Any] = {
        "init": init,
        "step": step,
        "run": run,
        "identity": {"name": "toy", "method": {"peak": 1e-2}},
        "seed": 5,
        "steps": STEPS,
        "save_every": SAVE_EVERY,
        "log_every": 2,
    } | changes
    settings.setdefault("batches", iter(dataset()))
    return loop.fit(**settings)


def cache_compilations(folder: Path | str) -> None:
    """The same few programs are compiled by every run here; compile them once."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def fingerprint(state: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(state)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def kill_at_file_event(number: int, folder: str) -> None:
    """SIGKILL at the nth time that this process opens, makes, renames or removes in `folder`."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event not in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir"}:
            return
        if any(isinstance(part, (str, os.PathLike)) and folder in str(part) for part in arguments):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--kill-in", default="checkpoints")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--space", type=int, default=1)
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--join")
    options = parser.parse_args(arguments)
    options.run.mkdir(exist_ok=True)
    cache_compilations(options.run.parent / "compiled")
    if options.devices > 1:
        jax.config.update("jax_num_cpu_devices", options.devices)
    if options.kill_at:
        kill_at_file_event(options.kill_at, options.kill_in)

    def reporter(tick):
        (options.run / "at").write_text(str(tick.step))
        time.sleep(options.slow)

    def train() -> int:
        place = mesh.make(space=options.space)
        batches = iter(dataset().map(functools.partial(rows_of, share.rows(place, 8))))
        result = fit(
            options.run,
            steps=options.steps,
            mesh=place,
            batches=batches,
            reporter=reporter,
            state_sharding=sharded if options.sharded else mesh.state_sharding,
        )
        state = share.gathered(result.state)
        if not result.interrupted and processes.first():
            np.savez(options.run / "final.npz", **digest.leaves_of(state))
            (options.run / "final.sha256").write_text(fingerprint(state))
        return 0

    if options.join:
        with processes.Joined(options.join):
            code = train()
            processes.part()
            return code
    try:
        return train()
    except UserError:
        traceback.print_exc()
        return 2


def sharded(place: jax.sharding.Mesh, state: Any) -> Any:
    """Leaves whose last axis divides among the devices of `data` are split along it."""

    def one(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        even = leaf.ndim and leaf.shape[-1] % place.shape["data"] == 0
        return NamedSharding(place, P(*[None] * (leaf.ndim - 1), "data") if even else P())

    return jax.tree.map(one, state)


def rows_of(rows: Sequence[int], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[list(rows)] for name, array in batch.items()}


def serve() -> None:
    """Forks a process that calls `main` for every line of arguments on standard input.

    Importing takes longer than the run; a fork has imported already. It is a process like any
    other to those who kill it. Answers with its number, and with how it ended.
    """
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # Gloo talks on standard output, where the answers go.
            os.dup2(2, 1)
            code = 1
            try:
                code = main(json.loads(line))
            finally:
                if error := sys.exception():
                    traceback.print_exception(error)
                os._exit(code)
        answer(child)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main(sys.argv[1:]))
