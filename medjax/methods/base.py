"""What a training method is: three pure functions on a state that is a plain pytree.

A method knows nothing of files, devices or checkpoints; the loop knows nothing of losses. Every
state has `step` (int32 scalar) and `ema`, the averaged variables that `restore` uses, so a network
trained by any method is read from its checkpoint in one way.

Networks are Flax Linen modules called as `network(*inputs, train=bool)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key, PyTree

from medjax.losses.likelihood import Law

Variables = dict[str, Any]
"""`{"params": ..., "batch_stats": ...}`; every collection but `params` is statistics."""
Metrics = dict[str, Float[Array, ""]]
Loss = Callable[[Float[Array, "batch *space c"], Float[Array, "batch *space c"]], Float[Array, ""]]
"""`(restored, clean) -> scalar`, the mean over the batch."""


class Pair(NamedTuple):
    """What a network gets and what it should return.

    Either may be a mapping of arrays for networks that work in more than one domain, such as
    `models.ddanet`; "image" is then the image.
    """

    degraded: Float[Array, "batch *space d"]
    """The degraded image, then any condition channels such as a noise level map."""
    clean: Float[Array, "batch *space c"]
    """The image to restore."""


class Spread(NamedTuple):
    """How a method that restores in one way says how far off each sample may be."""

    std: Callable[[Any, Float[Array, "batch *space d"]], Float[Array, "batch *space c"]]
    """`std(state, degraded)`: standard deviation of the restoration's error, with the averaged
    weights in evaluation mode."""
    law: Law
    """How the errors scatter by it."""


class Method(NamedTuple):
    """A way to train: pure functions, to be jitted, sharded and saved by the caller."""

    init: Callable[[Key[Array, ""], Pair], Any]
    """`init(key, batch) -> state`; only the batch's shapes and types matter."""
    step: Callable[[Any, Pair, Key[Array, ""]], tuple[Any, Metrics]]
    """`step(state, batch, key) -> (state, metrics)`; metrics are float32 scalars."""
    restore: Callable[[Any, Float[Array, "batch *space d"]], Float[Array, "batch *space c"]]
    """`restore(state, degraded) -> restored` with the averaged weights in evaluation mode."""
    draw: Callable[[Any, Array, Key[Array, ""]], Float[Array, "batch *space c"]] | None = None
    """`draw(state, degraded, key) -> restored`: one of many restorations that fit the input."""
    spread: Spread | None = None


class Learner(struct.PyTreeNode):
    """A network's variables and its optimiser's state."""

    variables: Variables
    opt_state: PyTree


class MethodState(struct.PyTreeNode):
    """What the state of every method has."""

    step: Int[Array, ""]
    ema: Variables


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all leaves of `tree` together, summed in float32."""
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def create_learner(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *inputs: PyTree,
) -> Learner:
    """Initialise `network` on `inputs`, and the optimiser on its parameters."""
    keys = {"params": jax.random.fold_in(key, 0), "dropout": jax.random.fold_in(key, 1)}
    variables = dict(network.init(keys, *inputs, train=False))
    return Learner(variables=variables, opt_state=optimizer.init(variables["params"]))


def statistics_of(variables: Variables) -> Variables:
    """Every collection of `variables` but the parameters."""
    return {name: value for name, value in variables.items() if name != "params"}


def train_pass(
    network: nn.Module,
    params: PyTree,
    statistics: Variables,
    key: Key[Array, ""],
    *inputs: PyTree,
    method: str | None = None,
) -> tuple[Any, Variables]:
    """The network's output in training mode, and its statistics after this batch.

    `method` names another method of the network than its call.
    """
    output, updated = network.apply(
        {"params": params, **statistics},
        *inputs,
        train=True,
        mutable=list(statistics),
        rngs={"dropout": key},
        method=method,
    )
    return output, {**statistics, **updated}


def update_learner(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    gradient: PyTree,
    statistics: Variables,
) -> Learner:
    """One optimiser step along `gradient`, keeping the new `statistics`."""
    params = learner.variables["params"]
    # Optax mixes Python, integer and float types freely.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(gradient, learner.opt_state, params)
        params = optax.apply_updates(params, updates)
    return Learner(variables={"params": params, **statistics}, opt_state=opt_state)


def mean_over(axis_name: str | None, tree: PyTree) -> PyTree:
    """Mean of `tree` over the devices of a `pmap` axis; `tree` itself without one.

    Under a sharded `jit` there is no axis: the compiler averages over the global batch by itself.
    """
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)
