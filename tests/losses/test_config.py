"""The losses as settings: what they are made of, and that they train."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from medjax.errors import UserError
from medjax.experiment import from_dict, to_dict
from medjax.losses.config import (
    L1,
    MSSSIM,
    SSIM,
    BiasConstrained,
    Edge,
    PerceptualSSIM,
    WindowedL1,
)
from medjax.losses.perceptual import feature_space, perceptual_loss
from medjax.methods.base import Pair
from medjax.methods.config import Regression
from medjax.models.unet import UNetConfig
from medjax.weights import vgg16

ALL = (
    L1(),
    WindowedL1(),
    BiasConstrained(),
    SSIM(),
    MSSSIM(scales=2),
    Edge(),
    PerceptualSSIM(slices=2),
)


def images(shape, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.uniform(-0.1, 1.1, size=(*shape, 1)).astype(np.float32)
    return clean + rng.normal(scale=0.1, size=clean.shape).astype(np.float32), clean


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_0_at_equality_finite_slopes_and_back_from_json(config):
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    restored, clean = images((2, 24, 24))
    both = jax.jit(jax.value_and_grad(config.build()))
    value, slope = both(restored, clean)
    assert value.shape == () and value.dtype == jnp.float32 and float(value) > 0.01
    assert np.isfinite(slope).all() and (slope != 0).any()
    value, slope = both(clean, clean)
    assert abs(float(value)) < 1e-6 and np.isfinite(slope).all()


@pytest.mark.parametrize("config", [SSIM(), Edge(), PerceptualSSIM(slices=2)])
@pytest.mark.parametrize("space", [(4, 16, 16), (2, 12, 12, 12), (2, 3, 16, 16)])
def test_volumes_and_series_have_a_loss_too(config, space):
    restored, clean = images((1, *space))
    slope = jax.eval_shape(jax.grad(config.build()), restored, clean)
    assert slope.shape == clean.shape
    # Values once, of the smallest.
    if space == (4, 16, 16):
        assert float(jax.jit(config.build())(restored, clean)) > 0.01


def test_ssim_is_scikit_images_inside_the_window_and_slices_one_by_one_where_they_are_few():
    restored, clean = (np.clip(x, 0, 1) for x in images((1, 4, 20, 21)))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = np.mean(
        [
            structural_similarity(a[..., 0], b[..., 0], data_range=1.0, **options)
            for a, b in zip(restored[0], clean[0], strict=True)
        ]
    )
    assert float(SSIM().build()(restored, clean)) == pytest.approx(1 - expected, abs=1e-5)
    anchored = float(SSIM(anchor=2.0).build()(restored, clean))
    assert anchored == pytest.approx(1 - expected + 2 * np.abs(restored - clean).mean(), abs=1e-5)


def test_perceptual_ssim_is_7_parts_features_and_3_parts_ssim():
    restored, clean = (np.clip(x, 0, 1) for x in images((2, 24, 24)))
    space = feature_space(vgg16.load("bundled"))
    whole, anchored, similar = (
        config.build() for config in (PerceptualSSIM(), PerceptualSSIM(anchor=10.0), SSIM())
    )

    @jax.jit
    def all_four(a, b):
        return whole(a, b), anchored(a, b), perceptual_loss(a, b, space=space), similar(a, b)

    got, with_anchor, seen, ssim = (float(x) for x in all_four(restored, clean))
    assert got == pytest.approx(0.7 * seen + 0.3 * ssim, rel=1e-5)
    assert with_anchor == pytest.approx(got + 10 * np.abs(restored - clean).mean(), rel=1e-5)


@pytest.mark.parametrize("config", [SSIM(), PerceptualSSIM()])
def test_bone_neither_rules_nor_drops_out(config):
    restored, clean = images((1, 24, 24))
    bone = np.zeros_like(clean)
    bone[:, 8:16, 8:16] = 8.0
    loss = jax.jit(jax.value_and_grad(config.build()))
    plain, _ = loss(restored, clean)
    # Ten percent too dense: an error of 0.8 windows in a ninth of the image.
    value, slope = loss(restored + 1.1 * bone, clean + bone)
    assert float(value) < 2 * float(plain) + 0.1
    inside = np.asarray(slope)[:, 8:16, 8:16]
    assert (inside != 0).mean() > 0.9


def test_wrong_settings_are_told_to_the_user():
    with pytest.raises(UserError, match=r"layer_weights.*one for each"):
        PerceptualSSIM(layers=("relu1_2",))
    with pytest.raises(UserError, match="slices 0"):
        PerceptualSSIM(slices=0)
    with pytest.raises(UserError, match=r"relu9_1.*relu1_1"):
        PerceptualSSIM(layers=("relu9_1",), layer_weights=(1.0,)).build()
    with pytest.raises(UserError, match="medjax weights fetch vgg16"):
        PerceptualSSIM(layers=("relu4_1",), layer_weights=(1.0,)).build()


def test_the_preset_trains_and_its_weights_are_in_no_state():
    clean = jnp.asarray(data.camera()[::8, ::8][8:32, 8:32, None], jnp.float32)[None] / 255
    batch = Pair(clean + 0.1 * jax.random.normal(jax.random.key(0), clean.shape), clean)
    network = UNetConfig(width=8, depth=0, convs_per_level=1, norm="none").build()
    loss = PerceptualSSIM(anchor=0.5).build()
    method = Regression(ema_decay=0.0).build(network, optax.adam(1e-2), loss)
    state = jax.jit(method.init)(jax.random.key(1), batch)
    assert all(leaf.size < 8 * 8 * 9 + 1 for leaf in jax.tree.leaves(state))
    step = jax.jit(method.step, donate_argnums=0)
    key, losses = jax.random.key(2), []
    state, metrics = step(state, batch, key)
    # As the training loop runs: nothing may reach the device unasked.
    with jax.transfer_guard("disallow"):
        for _ in range(20):
            state, metrics = step(state, batch, key)
            losses.append(metrics["loss"])
    assert float(losses[-1]) < 0.8 * float(losses[0])
    assert step._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
