"""The moving average: early steps follow, late steps keep."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.methods.ema import ema_decay_at, update_ema


def test_decay_rises_to_its_limit():
    steps = jnp.arange(20_000)
    decay = np.asarray(ema_decay_at(steps, 0.999))
    np.testing.assert_allclose(decay[:3], [1 / 10, 2 / 11, 3 / 12], rtol=1e-6)
    assert (np.diff(decay) >= 0).all()
    np.testing.assert_allclose(decay[-1], 0.999, rtol=1e-6)


def test_average_is_the_recursion_written_out():
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    average, expected = {"w": jnp.zeros(4)}, np.zeros(4)
    for t, value in enumerate(values):
        average = update_ema(average, {"w": jnp.asarray(value)}, jnp.int32(t), 0.5)
        keep = min(0.5, (1 + t) / (10 + t))
        expected = keep * expected + (1 - keep) * value
    np.testing.assert_allclose(average["w"], expected, rtol=1e-5)


def test_integers_are_copied_and_types_kept():
    old = {"n": jnp.int32(1), "h": jnp.ones(2, jnp.bfloat16)}
    new = {"n": jnp.int32(5), "h": jnp.zeros(2, jnp.bfloat16)}
    average = update_ema(old, new, jnp.int32(10_000), 0.9)
    assert average["n"] == 5
    assert average["h"].dtype == jnp.bfloat16 and (average["h"] > 0.8).all()


def test_decay_of_one_is_refused():
    with pytest.raises(ValueError, match="decay"):
        update_ema({}, {}, jnp.int32(0), 1.0)
