"""What of a batch and of a state lies in this process, and how it becomes part of the whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int32

from medjax.errors import UserError
from medjax.train import mesh as meshes
from medjax.train.processes import several


def rows(mesh: Mesh, batch: int) -> tuple[int, ...]:
    """The rows of a global batch that this process's devices hold, in order; with one, all.

    They need not lie side by side: on a TPU pod neighbours in the mesh are neighbours in the
    torus, not in a process.

    Raises:
        UserError: the batch does not divide among the devices, or a process has none of them.
    """
    like = {"image": jax.ShapeDtypeStruct((batch,), np.int32)}
    (sharding,) = meshes.batch_sharding(mesh, like).values()
    held = sharding.addressable_devices_indices_map((batch,)).values()
    owners = {device.process_index for device in mesh.devices.flat}
    if len(owners) < jax.process_count():
        raise UserError(
            f"mesh: its {mesh.size} devices are of {len(owners)} of the {jax.process_count()} "
            "processes; take all devices or start fewer processes"
        )
    found = {row for index in held if index for row in range(*index[0].indices(batch))}
    return tuple(sorted(found))


def whole(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the global batch of which `batch` is the share of this process."""
    here = len(rows(mesh, mesh.size))

    def one(array: Any) -> jax.ShapeDtypeStruct:
        shape = np.shape(array)
        shape = (shape[0] * mesh.size // here, *shape[1:]) if shape else ()
        dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
        return jax.ShapeDtypeStruct(shape, dtype)

    return {name: one(array) for name, array in batch.items()}


def put(
    batch: Mapping[str, Any], like: Mapping[str, jax.ShapeDtypeStruct], here: Sequence[int]
) -> dict[str, Array]:
    """Moves this process's rows `here` to its devices, as its part of the global arrays `like`."""
    if not several():
        return meshes.put(batch, {name: leaf.sharding for name, leaf in like.items()})
    at = {row: position for position, row in enumerate(here)}

    def one(array: np.ndarray, leaf: jax.ShapeDtypeStruct) -> Array:
        def piece(index: tuple[slice, ...]) -> np.ndarray:
            first, last, _ = index[0].indices(leaf.shape[0])
            begin = at[first]
            return np.array(array[begin : begin + last - first][:, *index[1:]], dtype=leaf.dtype)

        return _assembled(leaf.shape, leaf.sharding, piece)

    return {name: one(np.asarray(batch[name]), leaf) for name, leaf in like.items()}


def place(value: Any, sharding: jax.sharding.Sharding) -> Array:
    """An array that every process has, on the devices; explicitly, without asking the others."""
    if not several():
        return jax.device_put(value, sharding)
    array = np.asarray(value)
    # device_put would compare the values of all processes, and wait for it.
    return _assembled(array.shape, sharding, lambda index: array[index])


def asked(mesh: Mesh, here: bool) -> Int32[Array, "device"]:
    """One number a device: 1 where its process was asked to stop."""
    like = asked_like(mesh)
    return _assembled(like.shape, like.sharding, lambda _: np.full(1, here, np.int32))


def asked_like(mesh: Mesh) -> jax.ShapeDtypeStruct:
    """Shape, type and place of what `asked` gives."""
    sharding = NamedSharding(mesh, P(mesh.axis_names))
    return jax.ShapeDtypeStruct((mesh.size,), np.int32, sharding=sharding)


def gathered(state: Any) -> Any:
    """The state with every leaf readable here: what other processes hold is fetched, leaf by leaf.

    A replicated leaf lies here already. All processes must call it; each then holds the whole.
    """

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.tree.map(one, state)


def _assembled(
    shape: tuple[int, ...],
    sharding: jax.sharding.Sharding,
    piece: Callable[[tuple[slice, ...]], np.ndarray],
) -> Array:
    """A global array of what `piece` gives for each device here.

    jax.make_array_from_process_local_data refuses rows that do not lie side by side, and moves
    them in a way that the transfer guard takes for an oversight.
    """
    places = sharding.addressable_devices_indices_map(shape)
    parts = [jax.device_put(piece(index or ()), device) for device, index in places.items()]
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)
