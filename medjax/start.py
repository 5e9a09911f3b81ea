"""Starting from the weights of another run: fine-tuning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from medjax.errors import UserError
from medjax.train.share import place
from medjax.trained import open_run

# Fields of the methods' states with the network that restores; a discriminator starts afresh.
LEARNERS = ("network", "generator")


def beginning(folder: str) -> Callable[[Any], Any] | None:
    """What gives a fresh `MethodState` the averaged weights of a run, as `loop.fit` takes it.

    Args:
      folder: of the run, trained by whatever method; empty for none.

    Raises:
      UserError: it is no run folder, or has no checkpoint that verifies; later, from the returned
        function, where its network is another.
    """
    if not folder:
        return None
    weights = jax.device_get(open_run(Path(folder)).state.ema)

    def begin(state: Any) -> Any:
        _check_same(folder, weights, state.ema)
        average, current = (
            jax.tree.map(lambda new, old: place(new, old.sharding), weights, state.ema)
            # Two copies: the step donates the state, which may hold no array twice.
            for _ in range(2)
        )
        name = next(name for name in LEARNERS if hasattr(state, name))
        learner = getattr(state, name).replace(variables=current)
        return state.replace(ema=average, **{name: learner})

    return begin


def _check_same(folder: str, there: PyTree, here: PyTree) -> None:
    was, now = _shapes(there), _shapes(here)
    for name in [*now, *(name for name in was if name not in now)]:
        if was.get(name) != now.get(name):
            raise UserError(
                f"start {folder}: its network is another: {name} is {was.get(name, 'absent')} "
                f"there and {now.get(name, 'absent')} here; give this experiment the network that "
                "its experiment.json names"
            )


def _shapes(variables: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }
