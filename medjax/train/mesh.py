"""Devices as a mesh with axes `data` and `space`, and where batches and states lie on it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from medjax.errors import UserError

AXES = ("data", "space")
SMALLEST = 2**16
"""Numbers in the smallest array that `fully_sharded` splits: 256 KiB of float32."""


def make(data: int | None = None, space: int = 1) -> Mesh:
    """A mesh over the first `data * space` devices that JAX finds.

    Args:
        data: devices that share the batch among them; None takes as many as there are.
        space: devices that share the first spatial axis of each image.

    Raises:
        UserError: there are too few devices.
    """
    devices = jax.devices()
    if data is None:
        data = len(devices) // max(space, 1)
    if data < 1 or space < 1 or data * space > len(devices):
        raise UserError(
            f"mesh: data={data} x space={space} needs {max(data * space, 1)} or more devices, "
            f"JAX finds {len(devices)} ({devices[0].platform}); choose smaller numbers"
        )
    return jax.make_mesh(
        (data, space),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        devices=devices[: data * space],
    )


def alone() -> Mesh:
    """A mesh of one device of this process, whatever others there are."""
    return jax.make_mesh(
        (1, 1),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        devices=jax.local_devices()[:1],
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, P())


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """A tree like `state` of shardings, every leaf replicated."""
    return jax.tree.map(lambda _: replicated(mesh), state)


def fully_sharded(mesh: Mesh, state: Any, smallest: int = SMALLEST) -> Any:
    """As `state_sharding`, but each large leaf split over `data` along its largest axis.

    That is the largest of the axes that divide; a leaf without one is replicated, as are those of
    less than `smallest` numbers, whose gathering would cost more than their memory is worth.
    XLA gathers a weight where a step uses it (ZeRO, arXiv:1910.02054).
    """
    devices = mesh.shape["data"]

    def place(leaf: Any) -> NamedSharding:
        shape = np.shape(leaf)
        sizes = [size if size % devices == 0 else 0 for size in shape]
        if np.prod(shape) < smallest or not any(sizes):
            return replicated(mesh)
        axis = int(np.argmax(sizes))
        return NamedSharding(mesh, P(*[None] * axis, "data"))

    return jax.tree.map(place, state)


def split_space(mesh: Mesh, pair: Any) -> Any:
    """Inside `jit`: images `[batch, *space, channel]` kept split over both axes of the mesh.

    What surrounds an image, as margins do, may not divide among the devices; what a network is
    given must. XLA's partitioner exchanges the rows at the seams.

    Raises:
        UserError: an image's first spatial axis does not divide among its devices.
    """

    def place(leaf: jax.Array) -> jax.Array:
        if leaf.ndim < 4:
            return leaf
        if leaf.shape[1] % mesh.shape["space"]:
            raise UserError(
                f"images of {' x '.join(map(str, leaf.shape[1:-1]))} do not divide among the "
                f"{mesh.shape['space']} devices of mesh axis 'space'; change the patch or "
                "--devices.space"
            )
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, P(*AXES)))

    return jax.tree.map(place, pair)


def batch_sharding(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, NamedSharding]:
    """Shardings of a batch: the first axis over `data`, the first spatial axis over `space`.

    Args:
        mesh: from `make`.
        batch: arrays or shapes `[batch, *space, channel]`; those with less than three axes have
            no spatial axis and are split over `data` only, as are those whose first spatial axis
            does not divide (`split_space` then splits what is cut from them).

    Raises:
        UserError: the batch does not divide among its devices.
    """
    return {name: _sharding(mesh, name, np.shape(array)) for name, array in batch.items()}


def put(batch: Mapping[str, Any], shardings: Mapping[str, NamedSharding]) -> dict[str, jax.Array]:
    """Moves a batch to the devices, explicitly and without waiting for it.

    What moves is a copy: on CPU, JAX takes over memory that lies on a multiple of 64 bytes, with
    `may_alias=False` too (0.10.1), and a loader with reused buffers would overwrite it.
    """
    copies = {name: np.array(array) for name, array in batch.items()}
    return jax.device_put(copies, dict(shardings))


def _sharding(mesh: Mesh, name: str, shape: tuple[int, ...]) -> NamedSharding:
    if not shape:
        raise ValueError(f"batch[{name!r}] is a scalar; every entry needs a batch axis")
    if shape[0] % mesh.shape["data"]:
        raise UserError(
            f"batch[{name!r}]: batch size {shape[0]} does not divide among the "
            f"{mesh.shape['data']} devices of mesh axis 'data'; change it or give the mesh fewer "
            "devices"
        )
    space = mesh.shape["space"]
    spatial = space > 1 and len(shape) >= 3 and shape[1] % space == 0
    return NamedSharding(mesh, P(*AXES) if spatial else P("data"))
