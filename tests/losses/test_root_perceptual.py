"""The rooted perceptual + SSIM loss against its parts, image by image."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.experiment import from_dict, to_dict
from medjax.losses.config import SSIM
from medjax.losses.perceptual import feature_distance, feature_space
from medjax.losses.root_perceptual import RootPerceptualSSIM
from medjax.weights import vgg16


def images(shape, noise=0.1):
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.1, 0.9, size=(*shape, 1)).astype(np.float32)
    return clean + rng.normal(scale=noise, size=clean.shape).astype(np.float32), clean


def test_it_is_the_mean_root_of_7_parts_features_and_3_parts_ssim():
    restored, clean = (np.clip(x, 0, 1) for x in images((2, 24, 24)))
    space = feature_space(vgg16.load("bundled"))
    seen = np.asarray(jax.jit(lambda a, b: feature_distance(a, b, space=space))(restored, clean))
    similar = [float(SSIM().build()(restored[i : i + 1], clean[i : i + 1])) for i in range(2)]
    expected = np.mean(np.sqrt(0.7 * seen + 0.3 * np.asarray(similar)))
    got = float(jax.jit(RootPerceptualSSIM().build())(restored, clean))
    assert got == pytest.approx(expected, rel=1e-3)
    anchored = float(jax.jit(RootPerceptualSSIM(anchor=2.0).build())(restored, clean))
    assert anchored == pytest.approx(got + 2 * np.abs(restored - clean).mean(), rel=1e-4)


def test_an_image_a_tenth_as_wrong_pulls_as_much():
    _, clean = images((2, 24, 24))
    error = images((1, 24, 24))[0] - images((1, 24, 24))[1]
    restored = clean + np.concatenate([error, 0.1 * error])
    slope = jax.jit(jax.grad(RootPerceptualSSIM().build()))(restored, clean)
    strong, weak = (float(jnp.linalg.norm(x)) for x in slope)
    assert 0.5 < weak / strong < 2


def test_near_0_and_finite_at_equality_and_back_from_json():
    config = RootPerceptualSSIM(slices=2)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    _, clean = images((2, 24, 24))
    value, slope = jax.jit(jax.value_and_grad(config.build()))(clean, clean)
    # The rounding of SSIM, a ten-millionth, under the root.
    assert abs(float(value)) < 1e-3 and np.isfinite(slope).all()


@pytest.mark.parametrize("space", [(4, 16, 16), (2, 12, 12, 12), (2, 3, 16, 16)])
def test_volumes_and_series_have_a_loss_too(space):
    restored, clean = images((1, *space))
    slope = jax.eval_shape(jax.grad(RootPerceptualSSIM(slices=2).build()), restored, clean)
    assert slope.shape == clean.shape
