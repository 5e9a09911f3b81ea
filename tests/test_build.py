"""What an experiment is built into: the optimiser of a schedule, axes that join the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.build import batch_like, fold, optimizer_of, pairs_of
from medjax.errors import UserError
from medjax.experiment import Schedule, find, load


def test_accumulation_is_one_move_along_the_mean_gradient() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 3)).astype(np.float32)
    start = jnp.ones(3)
    plan = Schedule(steps=6, peak=1e-2, end=1e-3, accumulate=3)

    def run(optimizer: optax.GradientTransformation, series: np.ndarray) -> np.ndarray:
        params, state = start, optimizer.init(start)
        for gradient in series:
            updates, state = optimizer.update(jnp.asarray(gradient), state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params)

    # Cosine over two moves: the peak, then half way between the peak and the end.
    rates = optax.piecewise_constant_schedule(1e-2, {1: (1e-2 + 1e-3) / 2 / 1e-2})
    with jnp_standard():
        expected = run(optax.adam(rates), gradients.reshape(2, 3, 3).mean(1))
        np.testing.assert_allclose(run(optimizer_of(plan), gradients), expected, rtol=1e-6)


def test_restarts_come_back_to_the_peak() -> None:
    plan = Schedule(steps=8, peak=1e-2, end=1e-4, restart_every=4)
    optimizer = optimizer_of(plan)
    params = jnp.zeros(())
    state = optimizer.init(params)
    moves = []
    with jnp_standard():
        for _ in range(8):
            updates, state = optimizer.update(jnp.ones(()), state, params)
            moves.append(-float(updates))
    # Under a constant gradient Adam moves by the learning rate.
    assert moves[4] == pytest.approx(moves[0], rel=1e-3) == pytest.approx(1e-2, rel=1e-3)
    assert moves[3] < moves[2] < moves[1] < moves[0]


def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="accumulate"):
        Schedule(accumulate=0)
    with pytest.raises(UserError, match="warm-up"):
        Schedule(restart_every=10, warmup=5)


def test_leading_axes_join_the_batch() -> None:
    x = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5, 1)
    folded = fold(x, 2)
    assert folded.shape == (6, 4, 5, 1)
    np.testing.assert_array_equal(folded[4], x[1, 1])
    assert fold(x, 3) is not None and fold(x, 3).shape == x.shape


def jnp_standard():
    """Optax mixes types freely."""
    import jax

    return jax.numpy_dtype_promotion("standard")


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [("ldct_cgan", 64, 512), ("fundus_vae", 64, 512), ("inpainting_volume_cgan", 16, 64)],
)
def test_programs_of_large_patches_are_not_larger(name: str, small: int, large: int) -> None:
    """Tables of an image's size, written out as constants, cost minutes of compiling."""
    experiment = load(find(name), "cpu")
    key = jax.eval_shape(lambda: jax.random.key(0))

    def length(patch: int) -> int:
        data = dataclasses.replace(experiment.data, patch=patch, batch=1)
        one = dataclasses.replace(experiment, data=data)
        return len(jax.jit(pairs_of(one)).lower(batch_like(one), key).as_text())

    assert length(large) < 1.1 * length(small)
