"""Attention against its formulas written out in NumPy, and its open start."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.attention import AttentionGate, SqueezeExcite

# Compiling dominates these tests, so the compiler is told to hurry.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("space", [(5, 4), (3, 2, 4), (2, 3, 2, 2)])
def test_gate_is_additive_attention(space):
    skip, gating = noise(0, 2, *space, 6), noise(1, 2, *space, 5)
    weighed, variables = quick(AttentionGate().init_with_output)(jax.random.key(2), skip, gating)
    p = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(leaf.shape[-2:]), variables["params"])
    a, b, w = p["skip"], p["gating"], p["weight"]
    assert a["kernel"].shape == (6, 3) and b["kernel"].shape == (5, 3)
    compared = skip @ a["kernel"] + a["bias"].ravel() + gating @ b["kernel"]
    weight = sigmoid(np.maximum(compared, 0) @ w["kernel"] + w["bias"].ravel())
    assert weight.shape == (2, *space, 1)
    np.testing.assert_allclose(weighed, skip * weight, rtol=1e-4, atol=1e-5)


def test_gate_hears_the_decoder_and_starts_open():
    skip, gating = jnp.ones((1, 8, 8, 16)), noise(1, 1, 8, 8, 16)
    run = quick(AttentionGate().init_with_output)
    weighed, _ = run(jax.random.key(2), skip, gating)
    assert 0.6 < jnp.mean(weighed) < 1
    changed, _ = run(jax.random.key(2), skip, gating.at[0, 3, 5].set(9.0))
    moved = np.argwhere(np.abs(np.asarray(changed - weighed)).max(-1)[0] > 1e-6)
    np.testing.assert_array_equal(moved, [[3, 5]])


def test_gate_refuses_other_sizes():
    with pytest.raises(ValueError, match="differ in size"):
        jax.eval_shape(
            AttentionGate().init, jax.random.key(0), noise(0, 1, 4, 4, 2), noise(1, 1, 2, 2, 2)
        )


@pytest.mark.parametrize("space", [(5, 4), (3, 2, 4), (2, 3, 2, 2)])
def test_squeeze_excite_is_its_formula(space):
    x = noise(0, 2, *space, 8)
    weighed, variables = quick(SqueezeExcite(2).init_with_output)(jax.random.key(2), x)
    first, second = (variables["params"][name] for name in ("Dense_0", "Dense_1"))
    mean = np.asarray(x).reshape(2, -1, 8).mean(1)
    hidden = np.maximum(mean @ first["kernel"] + first["bias"], 0)
    assert hidden.shape == (2, 8 // 2)
    weight = sigmoid(hidden @ second["kernel"] + second["bias"])
    weight = weight.reshape(2, *(1,) * len(space), 8)
    np.testing.assert_allclose(weighed, x * weight, rtol=1e-4, atol=1e-5)


def test_half_precision_stays():
    x = noise(0, 1, 4, 4, 8).astype(jnp.bfloat16)
    key, half = jax.random.key(0), jnp.bfloat16
    y, variables = jax.eval_shape(SqueezeExcite(dtype=half).init_with_output, key, x)
    z, more = jax.eval_shape(AttentionGate(dtype=half).init_with_output, key, x, x)
    assert y.dtype == z.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, more))} == {jnp.dtype("float32")}
