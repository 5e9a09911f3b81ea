"""Random keys by name and step: nothing random is carried from step to step.

A key depends on the seed of the run, the name of its stream and the step alone, so a run that
was interrupted draws what it would have drawn, and a new stream never disturbs an old one.
"""

import zlib

import jax
from jaxtyping import Array, Int, Key


def root(seed: int, name: str) -> Key[Array, ""]:
    """The key from which every step of the stream `name` folds its own.

    Args:
        seed: the seed of the run.
        name: the stream, say "train" or "init". Hashed with CRC-32, which is the same in every
            process, unlike Python's `hash`.
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def stream(seed: int, name: str, step: int | Int[Array, ""]) -> Key[Array, ""]:
    """The key of stream `name` at `step`; `step` may be traced."""
    return jax.random.fold_in(root(seed, name), step)
