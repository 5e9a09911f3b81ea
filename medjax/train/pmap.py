"""The same step run by `jax.pmap`, for those who compare it with one jit over a mesh.

Under `jit` a step sees the whole batch, and XLA splits the work. Under `pmap` each device sees its
share only, so the step itself must average gradients, statistics of the batch and metrics: the
methods do with `axis_name=AXIS` (`methods.base.mean_over`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from medjax.errors import UserError

AXIS = "devices"


def pmapped(
    step: Callable[[Any, Any, Key[Array, ""]], tuple[Any, dict[str, Array]]],
) -> Callable[[Any, Any, Key[Array, ""]], tuple[Any, dict[str, Array]]]:
    """`step` over arrays with a leading device axis; state from `replicate`, batch from `split`.

    Each device draws from its own key. The state is donated.
    """

    def one(state: Any, batch: Any, key: Key[Array, ""]) -> tuple[Any, dict[str, Array]]:
        return step(state, batch, jax.random.fold_in(key, jax.lax.axis_index(AXIS)))

    return jax.pmap(one, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=0)


def replicate(state: Any, devices: int) -> Any:
    """One copy of each leaf for each device: `[...]` to `[devices, ...]`."""
    return jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * devices), state)


def split(batch: Any, devices: int) -> Any:
    """Shares of a batch: `[batch, ...]` to `[devices, batch / devices, ...]`.

    Raises:
        UserError: the batch does not divide.
    """

    def one(leaf: Any) -> Any:
        if leaf.shape[0] % devices:
            raise UserError(f"batch size {leaf.shape[0]} does not divide among {devices} devices")
        return leaf.reshape(devices, leaf.shape[0] // devices, *leaf.shape[1:])

    return jax.tree.map(one, batch)
