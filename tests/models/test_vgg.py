"""VGG16 features against a VGG16 put together in PyTorch from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.vgg import CONVOLUTIONS, LAYERS, ConvWeights, VGGWeights, vgg16_features
from medjax.weights import vgg16

BUNDLED_LAYERS = LAYERS[:7]


def picture(shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.2, 1.3, size=shape).astype(np.float32)


def torch_features(weights, images, layers):
    """The published graph: 3x3 convolutions with zeros around, ReLU, 2x2 maxima between blocks."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = torch.tensor((images - np.array(weights.mean)) / np.array(weights.std))
    x = x.permute(0, 3, 1, 2).double()
    found = {}
    for name in CONVOLUTIONS:
        if name.endswith("_1") and name != "conv1_1":
            x = functional.max_pool2d(x, 2)
        kernel, bias = (torch.tensor(np.asarray(w)).double() for w in weights.convolutions[name])
        x = functional.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1))
        found[name.replace("conv", "relu")] = x.permute(0, 2, 3, 1).numpy()
        if len(found) == 1 + max(LAYERS.index(layer) for layer in layers):
            break
    return found


def assert_close(got, expected, layers):
    assert set(got) == set(layers)
    for name in layers:
        assert got[name].dtype == jnp.float32
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(got[name], expected[name], atol=2e-5 * scale, err_msg=name)


def test_bundled_features_equal_pytorchs_on_odd_sides():
    weights, images = vgg16.load("bundled"), picture((2, 21, 30, 3))
    expected = torch_features(weights, images, BUNDLED_LAYERS)
    got = jax.jit(lambda x: vgg16_features(weights, x, BUNDLED_LAYERS))(images)
    assert_close(got, expected, BUNDLED_LAYERS)


def test_all_thirteen_layers_equal_pytorchs(medjax_data):
    path = medjax_data.parent / "weights" / "vgg16_conv_rgb_hwio_f16.npz"
    if not path.is_file():
        pytest.skip("the full weights are not on this machine")
    with np.load(path) as file:
        convolutions = {
            name: ConvWeights(*(file[f"{name}/{part}"] for part in ConvWeights._fields))
            for name in CONVOLUTIONS
        }
    weights = VGGWeights(convolutions, *vgg16.load("bundled")[1:])
    for name, conv in vgg16.load("bundled").convolutions.items():
        np.testing.assert_array_equal(conv.kernel, convolutions[name].kernel)
    images = picture((1, 32, 33, 3))
    layers = ("relu5_3", "relu1_1", "relu4_2")
    expected = torch_features(weights, images, layers)
    got = jax.jit(lambda x: vgg16_features(weights, x, layers))(images)
    assert_close(got, expected, layers)


def test_the_gradient_equals_pytorchs():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    weights, images = vgg16.load("bundled"), picture((1, 12, 14, 3))

    @jax.jit
    @jax.grad
    def slope(x):
        return jnp.mean(vgg16_features(weights, x, ["relu2_1"])["relu2_1"])

    got = slope(images)
    leaf = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    x = ((leaf - torch.tensor(weights.mean)) / torch.tensor(weights.std)).permute(0, 3, 1, 2)
    for name in ("conv1_1", "conv1_2", "conv2_1"):
        x = functional.max_pool2d(x, 2) if name == "conv2_1" else x
        kernel, bias = (torch.tensor(np.asarray(w)).double() for w in weights.convolutions[name])
        x = functional.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1))
    x.mean().backward()
    expected = leaf.grad.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_sees_colour_in_the_order_red_green_blue():
    # The published network's first kernels differ by colour; a red image is not a blue one.
    weights = vgg16.load("bundled")
    red = np.zeros((1, 8, 8, 3), np.float32)
    red[..., 0] = 1
    inner = vgg16_features(weights, red, ["relu1_1"])["relu1_1"][0, 4, 4]
    kernel, bias = weights.convolutions["conv1_1"]
    colour = np.array([255, 0, 0]) - np.array([123.68, 116.779, 103.939])
    expected = np.maximum(np.einsum("yxio,i->o", kernel, colour) + bias, 0)
    np.testing.assert_allclose(inner, expected, rtol=1e-4, atol=1e-3)


def test_errors():
    weights, images = vgg16.load("bundled"), picture((1, 16, 16, 3))
    with pytest.raises(ValueError, match="relu9_9"):
        vgg16_features(weights, images, ["relu9_9"])
    with pytest.raises(ValueError, match="end before conv4_1"):
        vgg16_features(weights, images, ["relu4_1"])
    with pytest.raises(ValueError, match="3"):
        vgg16_features(weights, images[..., :1], ["relu1_1"])
    with pytest.raises(ValueError, match="too few"):
        vgg16_features(weights, images[:, :3], ["relu3_1"])
