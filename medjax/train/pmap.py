"""The same step run by `jax.pmap`, for those who compare it with one jit over a mesh.

Under `jit` a step sees the whole batch, and XLA splits the work. Under `pmap` each device sees its
share only, so gradients must be averaged by hand: chain `average_gradients()` before the optimiser.
It does nothing outside `pmap`, so one method serves both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from medjax.errors import UserError

AXIS = "devices"


def average_gradients() -> optax.GradientTransformation:
    """Replaces gradients by their mean over the devices of `pmapped`; elsewhere changes nothing."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return _mean(updates) if _inside() else updates, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def pmapped(
    step: Callable[[Any, Any, Key[Array, ""]], tuple[Any, dict[str, Array]]],
) -> Callable[[Any, Any, Key[Array, ""]], tuple[Any, dict[str, Array]]]:
    """`step` over arrays with a leading device axis; state from `replicate`, batch from `split`.

    Each device draws from its own key. Metrics and the floating part of the state are averaged:
    the state differs only where it holds statistics of the batch. The state is donated.
    """

    def one(state: Any, batch: Any, key: Key[Array, ""]) -> tuple[Any, dict[str, Array]]:
        state, metrics = step(state, batch, jax.random.fold_in(key, jax.lax.axis_index(AXIS)))
        return _mean(state), _mean(metrics)

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


def _inside() -> bool:
    try:
        jax.lax.axis_size(AXIS)
    except NameError:
        return False
    return True


def _mean(tree: Any) -> Any:
    def one(leaf: Any) -> Any:
        return jax.lax.pmean(leaf, AXIS) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    return jax.tree.map(one, tree)
