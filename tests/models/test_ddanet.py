"""DDANet: what it computes between its two networks, checked against plain physics."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.attention_net import AttentionNetConfig
from medjax.models.cost import multiply_adds
from medjax.models.ddanet import DDANetConfig, features, gathered, spread, turn_on
from medjax.physics.ct import FanBeam, ParallelBeam, fbp

PARALLEL = ParallelBeam.for_image(16, 2.0, views=16)
FAN = FanBeam.for_image(16, 2.0, views=24)
NETS = {
    "sinogram": AttentionNetConfig(width=2, depth=0),
    "image": AttentionNetConfig(width=2, depth=1),
}


def config(geometry=PARALLEL, **fields) -> DDANetConfig:
    return DDANetConfig(geometry=geometry, **NETS, **fields)


def scan(geometry, slices: int = 1, batch: int = 2) -> dict[str, jax.Array]:
    """A random sinogram and its reconstruction."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (batch, geometry.views, geometry.detectors, slices)
    sinogram = 40 * jax.random.uniform(keys[0], shape)
    image = fbp(geometry, sinogram)
    level = 0.1 + 0.05 * jax.random.uniform(keys[2], image.shape)
    noise = 1 + jax.random.uniform(keys[1], shape)
    return {
        "image": jnp.concatenate([image, level], -1),
        "sinogram": sinogram,
        "level": noise,
    }


def woken(variables, names: tuple[str, ...]):
    """The variables with the last, zero, convolutions of the named networks filled."""

    def fill(path, leaf):
        keys = [p.key for p in path]
        woken = keys[1] in names and leaf.ndim == 4 and not leaf.any()
        return jax.random.normal(jax.random.key(1), leaf.shape) if woken else leaf

    return jax.tree_util.tree_map_with_path(fill, variables)


class Started(NamedTuple):
    variables: dict
    both: Callable


@functools.cache
def started(geometry, slices: int = 1) -> Started:
    """An untrained network and its compiled pass: (variables, x) -> (image, sinogram)."""
    network = config(geometry, slices=slices).build()
    variables = jax.jit(network.init)(jax.random.key(0), scan(geometry, slices))
    return Started(variables, jax.jit(functools.partial(network.apply, method="both")))


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_untrained_it_returns_the_reconstruction_bit_by_bit(geometry) -> None:
    x, (variables, both) = scan(geometry), started(geometry)
    restored, sinogram = both(variables, x)
    np.testing.assert_array_equal(restored, x["image"][..., :1])
    np.testing.assert_array_equal(sinogram, x["sinogram"])


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_the_image_is_the_backprojection_of_the_cleaned_sinogram(geometry) -> None:
    x, (variables, both) = scan(geometry), started(geometry)
    image, sinogram = both(woken(variables, ("sinogram",)), x)
    assert jnp.abs(sinogram - x["sinogram"]).mean() > 0.1
    np.testing.assert_allclose(image, fbp(geometry, sinogram), atol=2e-4 * np.abs(image).max())


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_gradient_agrees_with_finite_differences(geometry) -> None:
    x, (variables, both) = scan(geometry), started(geometry)
    params = woken(variables, ("sinogram", "image"))["params"]

    @jax.jit
    def loss(gain: jax.Array) -> jax.Array:
        # All that the sinogram network does reaches the image through the backprojection.
        scaled = jax.tree.map(lambda leaf: leaf * gain, params["sinogram"])
        image, _ = both({"params": {**params, "sinogram": scaled}}, x)
        return jnp.mean(image**2)

    one, step = jnp.ones(()), 2e-3
    value, slope = jax.value_and_grad(loss)(one)
    assert np.isfinite(value) and float(jnp.abs(slope)) > 0
    found = (loss(one + step) - loss(one - step)) / (2 * step)
    np.testing.assert_allclose(slope, found, rtol=0.02)


def test_both_networks_learn() -> None:
    x, (variables, both) = scan(PARALLEL), started(PARALLEL)
    variables = woken(variables, ("sinogram", "image"))
    grads = jax.jit(jax.grad(lambda v: jnp.mean(both(v, x)[0] ** 2)))(variables)["params"]
    for name in ("sinogram", "image"):
        leaves = jax.tree.leaves(grads[name])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert np.mean([np.abs(leaf).max() > 0 for leaf in leaves]) > 0.8


def test_compiles_once_for_all_scans_of_a_scanner() -> None:
    x, (variables, both) = scan(PARALLEL), started(PARALLEL)
    for factor in (1.0, 1.5):
        both(variables, jax.tree.map(lambda leaf, f=factor: leaf * f, x))
    assert both._cache_size() == 1


def test_neighbouring_slices_help_to_restore_the_first() -> None:
    x, (variables, both) = scan(PARALLEL, slices=3), started(PARALLEL, slices=3)
    image, sinogram = both(variables, x)
    np.testing.assert_array_equal(image, x["image"][..., :1])
    assert sinogram.shape == x["sinogram"].shape
    variables = woken(variables, ("image",))
    other = {**x, "image": x["image"].at[..., 2].add(1.0)}
    assert jnp.abs(both(variables, x)[0] - both(variables, other)[0]).max() > 1e-3


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_the_scanner_turns_on_past_its_last_view(geometry) -> None:
    step = (np.pi if geometry is PARALLEL else 2 * np.pi) / geometry.views
    angles = np.arange(-3, geometry.views + 3)[:, None] * step
    s = (np.arange(geometry.detectors) - (geometry.detectors - 1) / 2) * geometry.detector_mm
    # Distance of a disc's centre from each ray; from the source in a fan.
    x, y = 5.0, -3.0
    across, depth = x * np.cos(angles) + y * np.sin(angles), y * np.cos(angles) - x * np.sin(angles)
    if geometry is PARALLEL:
        apart = s - across
    else:
        far = FAN.source_mm
        apart = (s * (far + depth) - far * across) / np.hypot(far, s)
    wide = 2 * np.sqrt(np.maximum(6.0**2 - apart**2, 0))[None, ..., None].astype(np.float32)
    np.testing.assert_allclose(turn_on(geometry, jnp.asarray(wide[:, 3:-3]), 3), wide, atol=1e-4)


def test_the_network_sees_noise_in_units_of_its_level() -> None:
    geometry = ParallelBeam(16, 2.0, 200, 100, 2.0)
    level = jnp.asarray([0.5, 4.0]).reshape(2, 1, 1, 1) * jnp.ones((2, 200, 100, 1))
    noise = level * jax.random.normal(jax.random.key(0), level.shape)
    seen = features(geometry, 30.0 + noise, level)
    # White noise less its mean over 25 samples, itself included.
    np.testing.assert_allclose(seen[..., 0].std(axis=(1, 2)), np.sqrt(1 - 1 / 25), rtol=0.02)
    np.testing.assert_allclose(seen[..., 1].mean(axis=(1, 2)), 30 / 32, rtol=0.01)


def test_neighbouring_views_may_come_as_channels() -> None:
    sinogram = jnp.arange(2 * 12 * 5 * 3.0).reshape(2, 12, 5, 3)
    rows = gathered(sinogram, 4)
    assert rows.shape == (2, 3, 5, 12)
    np.testing.assert_array_equal(rows[:, 1, :, 6:9], sinogram[:, 6])
    np.testing.assert_array_equal(spread(rows, 4), sinogram)
    x, network = scan(PARALLEL), config(views_together=2).build()
    variables = network.init(jax.random.key(0), x)
    restored, cleaned = network.apply(variables, x, method="both")
    np.testing.assert_array_equal(restored, x["image"][..., :1])
    np.testing.assert_array_equal(cleaned, x["sinogram"])
    with pytest.raises(ValueError, match="views_together 3 must divide the 16 views"):
        config(views_together=3)


def test_arrays_that_do_not_fit_are_refused() -> None:
    x = scan(PARALLEL)
    network = config().build()
    with pytest.raises(ValueError, match="sinogram"):
        jax.eval_shape(network.init, jax.random.key(0), {**x, "sinogram": x["sinogram"][:, 1:]})
    with pytest.raises(ValueError, match="slices"):
        dataclasses.replace(config(), slices=0)


def test_multiply_adds_are_those_of_both_networks() -> None:
    shapes = {k: (1, *v.shape[1:]) for k, v in scan(PARALLEL).items()}
    rays = (1, PARALLEL.views + 16, PARALLEL.detectors, 3)
    parts = multiply_adds(NETS["sinogram"], rays) + multiply_adds(NETS["image"], (1, 16, 16, 3))
    assert multiply_adds(config(), shapes) == parts
