"""Devices as a mesh with axes `data` and `space`, and where batches and states lie on it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from medjax.errors import UserError

AXES = ("data", "space")


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
    """A tree like `state` of shardings, every leaf replicated.

    The loop takes any function of this signature, so a fully sharded state needs only another one.
    """
    return jax.tree.map(lambda _: replicated(mesh), state)


def batch_sharding(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, NamedSharding]:
    """Shardings of a batch: the first axis over `data`, the first spatial axis over `space`.

    Args:
        mesh: from `make`.
        batch: arrays or shapes `[batch, *space, channel]`; those with less than three axes have
            no spatial axis and are split over `data` only.

    Raises:
        UserError: an axis does not divide among its devices.
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
    spatial = mesh.shape["space"] > 1 and len(shape) >= 3
    for axis, size in zip(AXES[: 2 if spatial else 1], shape, strict=False):
        if size % mesh.shape[axis]:
            what = "batch size" if axis == "data" else "first spatial axis"
            raise UserError(
                f"batch[{name!r}]: {what} {size} does not divide among the {mesh.shape[axis]} "
                f"devices of mesh axis {axis!r}; change it or give the mesh fewer devices"
            )
    return NamedSharding(mesh, P(*AXES) if spatial else P("data"))
