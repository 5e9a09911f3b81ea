"""What the perceptual loss finds far apart, and what a training asks of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from scipy.ndimage import gaussian_filter
from skimage import data

from medjax.losses.perceptual import feature_distance, feature_space, perceptual_loss
from medjax.models.vgg import vgg16_features
from medjax.weights import vgg16


@pytest.fixture(scope="module")
def space():
    return feature_space(vgg16.load("bundled"))


def camera():
    return data.camera()[::4, ::4].astype(np.float32)[16:112, 16:112] / 255


def ct():
    slice_ = dcmread(get_testdata_file("CT_small.dcm"))
    hu = slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
    return np.clip((hu[16:112, 16:112] + 160) / 400, -0.1, 1.1).astype(np.float32)


def batched(image):
    return jnp.asarray(image, jnp.float32)[None, ..., None]


@pytest.mark.parametrize("picture", [camera, ct])
def test_at_equal_mse_blur_costs_more_than_noise_and_noise_more_than_brightness(picture, space):
    clean = picture()
    blur = gaussian_filter(clean, 2.0) - clean
    rms = np.sqrt(np.mean(blur**2))
    noise = np.random.default_rng(0).normal(size=clean.shape)
    errors = (blur, noise * rms / np.sqrt(np.mean(noise**2)), np.full_like(clean, rms))
    images = np.stack([clean + error for error in errors])[..., None].astype(np.float32)
    blurred, noisy, brighter = feature_distance(
        jnp.asarray(images), jnp.broadcast_to(batched(clean), images.shape), space=space
    )
    assert float(blurred) > 1.1 * float(noisy) > 10 * float(brighter) > 0


def test_is_the_weighted_sum_of_the_features_squared_differences(space):
    a, b = (batched(f(camera(), 0.7)) for f in (gaussian_filter, lambda x, _: x))
    layers = {"relu1_1": 3.0, "relu2_2": 1.0}
    uneven = feature_space(space.weights, layers)
    fa, fb = (
        vgg16_features(space.weights, jnp.tile(x, (1, 1, 1, 3)), tuple(layers)) for x in (a, b)
    )
    expected = sum(f * np.mean((fa[n] - fb[n]) ** 2) for n, f in uneven.factors.items())
    got = feature_distance(a, b, space=uneven)[0]
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    # A layer's weight against its scale alone; the scale is the same in both spaces.
    alone = feature_space(space.weights, {"relu1_1": 1.0})
    assert uneven.factors["relu1_1"] == pytest.approx(0.75 * alone.factors["relu1_1"])


def test_a_photograph_is_about_1_from_grey(space):
    for picture in (camera(), ct()):
        far = feature_distance(batched(picture), batched(np.full_like(picture, 0.5)), space=space)
        assert 0.3 < float(far[0]) < 3


@pytest.fixture(scope="module")
def compiled(space):
    """The loss with its slopes along both images of 24 x 24, and how often it was traced."""
    calls = []

    def loss(x, y):
        calls.append(x.shape)
        return perceptual_loss(x, y, space=space)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))), calls


def test_gradients_are_finite_at_equality_and_on_flat_images_and_none_reaches_the_clean(compiled):
    both, calls = compiled
    clean, flat = batched(camera()[:24, :24]), jnp.full((1, 24, 24, 1), 0.5, jnp.float32)
    for x in (clean, flat):
        value, (slope, _) = both(x, x)
        assert float(value) == 0
        np.testing.assert_array_equal(slope, 0)
    for x, y in ((clean, flat), (flat, clean)):
        value, (slope, of_clean) = both(x, y)
        assert float(value) > 0.1 and np.isfinite(slope).all() and (slope != 0).any()
        np.testing.assert_array_equal(of_clean, 0)
    assert len(calls) == 1


def test_nothing_outside_the_window_is_cut_off_in_silence(compiled):
    clean = batched(camera()[:24, :24])
    _, (slope, _) = compiled[0](clean + 3, clean)
    assert float(jnp.mean(slope != 0)) > 0.99


def test_a_space_can_be_made_while_something_is_traced():
    made = []

    def function(x):
        made.append(feature_space(vgg16.load("bundled"), {"relu1_1": 1.0}))
        return x

    jax.jit(function)(1.0)
    assert made[0].factors == feature_space(vgg16.load("bundled"), {"relu1_1": 1.0}).factors


def test_errors(space):
    x = jnp.zeros((1, 16, 16, 1))
    with pytest.raises(ValueError, match="shapes differ"):
        perceptual_loss(x, x[:, :8], space=space)
    with pytest.raises(ValueError, match="channels"):
        feature_distance(jnp.tile(x, 2), jnp.tile(x, 2), space=space)
    with pytest.raises(ValueError, match="weights"):
        feature_space(space.weights, {"relu1_1": 0.0})
    with pytest.raises(ValueError, match="end before conv4_1"):
        feature_space(space.weights, {"relu4_1": 1.0})
