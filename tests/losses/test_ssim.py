import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean

from medjax.losses.ssim import (
    MS_SSIM_WEIGHTS,
    ms_ssim,
    ms_ssim_loss,
    ms_ssim_weights,
    ssim,
    ssim_loss,
)

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def pair(shape, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(0, 3, n) for n in shape], indexing="ij")
    clean = 0.5 + 0.4 * np.sin(sum((i + 2.0) * axis for i, axis in enumerate(axes)))
    restored = clean + noise * rng.normal(size=shape)
    return restored.astype(np.float32), clean.astype(np.float32)


def batched(*images):
    return tuple(jnp.asarray(image)[None, ..., None] for image in images)


@pytest.mark.parametrize("shape", [(11, 11), (64, 48), (11, 20, 13), (24, 24, 24)])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (400.0, -160.0), (2000.0, -1000.0)])
def test_equals_scikit_image(shape, scale, offset):
    a, b = (scale * image + offset for image in pair(shape))
    expected = structural_similarity(
        a.astype(np.float64), b.astype(np.float64), data_range=scale, **WANG
    )
    assert float(ssim(*batched(a, b), data_range=scale)[0]) == pytest.approx(expected, abs=1e-4)


def test_air_beside_bone_in_a_window_stays_exact():
    rng = np.random.default_rng(1)
    b = np.where(np.indices((64, 64)).sum(0) > 60, 3000.0, -1024.0)
    a, b = (np.clip(image, -160, 240) for image in (b + 15 * rng.normal(size=b.shape), b))
    expected = structural_similarity(a, b, data_range=400.0, **WANG)
    got = ssim(*batched(a.astype(np.float32), b.astype(np.float32)), data_range=400.0)
    assert float(got[0]) == pytest.approx(expected, abs=1e-4)


def test_raw_hu_judged_at_a_narrow_data_range_keep_their_variances():
    rng = np.random.default_rng(1)
    tissue = np.where(np.indices((64, 64)).sum(0) > 60, 50.0, -1000.0)
    a, b = (tissue + 10 * rng.normal(size=tissue.shape) for _ in range(2))
    expected = structural_similarity(a, b, data_range=400.0, **WANG)
    got = ssim(*batched(a.astype(np.float32), b.astype(np.float32)), data_range=400.0)
    assert float(got[0]) == pytest.approx(expected, abs=1e-4)


def test_one_value_a_case_channels_averaged_and_data_range_a_case():
    rng = np.random.default_rng(2)
    a, b = (rng.uniform(size=(3, 16, 17, 2)).astype(np.float32) for _ in range(2))
    ranges = np.array([1.0, 2.0, 0.5], np.float32)
    expected = [
        structural_similarity(
            x.astype(np.float64), y.astype(np.float64), data_range=r, channel_axis=-1, **WANG
        )
        for x, y, r in zip(a, b, ranges, strict=True)
    ]
    got = jax.jit(lambda r: ssim(a, b, data_range=r))(ranges)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("loss", [ssim_loss, functools.partial(ms_ssim_loss, weights=(0.4, 0.6))])
@pytest.mark.parametrize("kind", ["equal", "flat", "flat against noise", "zeros", "inverted"])
def test_gradients_are_finite(loss, kind):
    noisy, clean = batched(*pair((32, 32)))
    flat = jnp.full_like(clean, 0.3)
    restored, target = {
        "equal": (clean, clean),
        "flat": (flat, flat),
        "flat against noise": (flat, noisy),
        "zeros": (jnp.zeros_like(clean), jnp.zeros_like(clean)),
        "inverted": (1 - noisy, noisy),
    }[kind]
    both = jax.jit(jax.value_and_grad(lambda x: loss(x, target, data_range=1.0)))
    value, slope = both(restored)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_loss_falls_along_its_gradient_in_3d():
    restored, clean = batched(*pair((14, 15, 16)))
    loss = jax.jit(lambda x: ssim_loss(x, clean, data_range=1.0))
    slope = jax.jit(jax.grad(loss))(restored)
    step = restored - 0.05 * slope / jnp.max(jnp.abs(slope))
    assert float(loss(step)) < float(loss(restored))
    assert float(loss(clean)) == pytest.approx(0, abs=1e-6)


def reference_ms_ssim(a, b, weights):
    """From scikit-image alone: with K1 huge, luminance is 1 and SSIM is contrast-structure."""
    total = 1.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    for scale, weight in enumerate(weights):
        last = scale == len(weights) - 1
        k1 = 0.01 if last else 1e5
        total *= structural_similarity(a, b, data_range=1.0, K1=k1, **WANG) ** weight
        pads = [(0, n % 2) for n in a.shape]
        a, b = (downscale_local_mean(np.pad(x, pads, mode="edge"), (2,) * a.ndim) for x in (a, b))
    return total


@pytest.mark.parametrize("shape", [(176, 192), (161, 171)])
def test_ms_ssim_equals_one_built_from_scikit_image(shape):
    a, b = pair(shape, noise=0.2)
    expected = reference_ms_ssim(a, b, MS_SSIM_WEIGHTS)
    assert 0.5 < expected < 0.99
    assert float(ms_ssim(*batched(a, b), data_range=1.0)[0]) == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_in_3d_with_fewer_scales():
    a, b = pair((23, 24, 22), noise=0.2)
    weights = ms_ssim_weights(2)
    expected = reference_ms_ssim(a, b, weights)
    got = ms_ssim(*batched(a, b), data_range=1.0, weights=weights)
    assert float(got[0]) == pytest.approx(expected, abs=1e-4)


def test_weights_of_fewer_scales_sum_to_one():
    assert ms_ssim_weights(1) == (1.0,)
    assert sum(ms_ssim_weights(3)) == pytest.approx(1)
    assert ms_ssim_weights(5) == pytest.approx(MS_SSIM_WEIGHTS, rel=1e-3)
    with pytest.raises(ValueError, match="scales"):
        ms_ssim_weights(6)


def test_errors_say_what_to_do():
    small = jnp.zeros((1, 64, 10, 1))
    with pytest.raises(ValueError, match="11 samples along every space axis"):
        ssim(small, small, data_range=1.0)
    patch = jnp.zeros((1, 64, 64, 1))
    with pytest.raises(ValueError, match=r"needs 161 samples.*ms_ssim_weights"):
        ms_ssim(patch, patch, data_range=1.0)
    with pytest.raises(ValueError, match="data_range"):
        ssim(patch, patch, data_range=0.0)
    with pytest.raises(ValueError, match="shapes differ"):
        ssim(patch, patch[..., 0], data_range=1.0)
    with pytest.raises(TypeError, match="floating"):
        ssim(patch.astype(jnp.uint8), patch.astype(jnp.uint8), data_range=255)
