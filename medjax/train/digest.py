"""Digests of what a checkpoint holds, because Orbax does not notice a flipped bit."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from medjax.train.share import gathered


def snapshot(state: Any) -> Any:
    """The state as NumPy arrays of its own memory.

    A plain `device_get` may be a view of a device buffer, which the next step overwrites. Of
    several processes all must call it, and each gets the whole state.

    Raises:
        TypeError: a leaf is not an array of numbers (a typed key, say).
    """
    # One copy to the host for all leaves at once, then one in memory where that was only a view.
    return jax.tree.map(_own, jax.device_get(gathered(state)))


def leaves_of(state: Any) -> dict[str, Any]:
    """Leaves by path, say `.params['conv']['kernel']`, in the tree's order."""
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
    }


def spec_of(leaves: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Data type and shape of each leaf, ready for JSON."""
    return {path: [str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves.items()}


def digest_arrays(leaves: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over paths, data types, shapes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in leaves.items():
        digest.update(f"{path}|{leaf.dtype}|{leaf.shape}|".encode())
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a JSON record that carries its own SHA-256.

    Raises:
        TypeError: the record is not JSON.
        ValueError: it holds NaN or infinity.
    """
    plain = json.loads(json.dumps(record, allow_nan=False))
    return {**plain, "seal": _digest_json(plain)}


def is_sealed(record: Any) -> bool:
    """Whether a record is what `seal` made of it."""
    if not isinstance(record, dict) or "seal" not in record:
        return False
    plain = {name: value for name, value in record.items() if name != "seal"}
    return record["seal"] == _digest_json(plain)


def _digest_json(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _own(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, (np.ndarray, np.generic)):
        raise TypeError(f"a state holds arrays only, found {type(leaf).__name__}")
    array = np.asarray(leaf)
    return array if array.flags.owndata and array.base is None else array.copy()
