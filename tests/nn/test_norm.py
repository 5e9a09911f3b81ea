"""Batch normalisation against Flax and NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.norm import BatchNorm, channel_sums


def draw_array(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.mark.parametrize("shape", [(5, 3), (2, 7, 11, 5), (3, 40, 40, 16), (1, 6, 5, 4, 3, 2)])
def test_training_is_flax(shape):
    """Parameters, result, statistics and gradients."""
    x, dy = 3 * draw_array(0, shape) + 1, draw_array(1, shape)
    found = []
    for kind in (nn.BatchNorm, BatchNorm):
        layer = kind(use_running_average=False, momentum=0.9)
        variables = layer.init(jax.random.key(0), x)
        start = {"scale": draw_array(2, shape[-1:]), "bias": draw_array(3, shape[-1:])}
        assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, start)

        @jax.jit
        def step(params, x, layer=layer, variables=variables):
            def loss(params, x):
                y, kept = layer.apply({**variables, "params": params}, x, mutable=["batch_stats"])
                return jnp.sum(y * dy), (y, kept)

            return jax.grad(loss, (0, 1), has_aux=True)(params, x)

        found.append(step(start, x))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4), found[1], found[0]
    )


def test_stored_statistics_are_used():
    x = draw_array(0, (4, 3, 2))
    layer = BatchNorm(use_running_average=True, epsilon=0.0)
    stats = {"mean": jnp.array([1.0, -1.0]), "var": jnp.array([4.0, 0.25])}
    params = {"scale": jnp.array([2.0, 1.0]), "bias": jnp.array([0.0, 3.0])}
    y = layer.apply({"params": params, "batch_stats": stats}, x)
    np.testing.assert_allclose(y[..., 0], x[..., 0] - 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[..., 1], 2 * x[..., 1] + 5, rtol=1e-5, atol=1e-6)


def test_half_precision_keeps_statistics_in_float32():
    x = (draw_array(0, (2, 8, 8, 3)) + 10).astype(jnp.bfloat16)
    layer = BatchNorm(use_running_average=False, momentum=0.0)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    _, kept = layer.apply(variables, x, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(kept["batch_stats"]["mean"], exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept["batch_stats"]["var"], exact.var(0), rtol=1e-3)


def test_channel_sums_are_numpy_and_differentiable():
    a, b = draw_array(0, (2, 64, 33, 8)), draw_array(1, (2, 64, 33, 8))
    first, second = jax.jit(channel_sums)(a, b)
    wide = np.asarray(a, np.float64), np.asarray(b, np.float64)
    np.testing.assert_allclose(first, wide[0].sum((0, 1, 2)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(second, (wide[0] * wide[1]).sum((0, 1, 2)), rtol=1e-4, atol=1e-3)

    def loss(sums):
        return lambda a, b: jnp.sum(jnp.sin(sums(a, b)[0])) + jnp.sum(sums(a, b)[1] ** 2)

    def plain(a, b):
        return a.sum((0, 1, 2)), (a * b).sum((0, 1, 2))

    got, want = (jax.jit(jax.grad(loss(f), (0, 1)))(a / 9, b / 9) for f in (channel_sums, plain))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-4)


def test_batch_split_over_devices_shares_statistics():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = draw_array(0, (8, 32, 32, 4)) + jnp.arange(8.0, dtype=jnp.float32)[:, None, None, None]
    layer = BatchNorm(use_running_average=False)
    variables = layer.init(jax.random.key(0), x)
    apply = jax.jit(lambda x: layer.apply(variables, x, mutable=["batch_stats"])[0])
    np.testing.assert_allclose(apply(jax.device_put(x, split)), apply(x), atol=1e-4)
