import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from medjax.metrics.quality import PSNR_CEILING, mae, ms_ssim, mse, nrmse, psnr, rmse, ssim


def images(shape, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(size=shape)
    restored = reference + 0.05 * rng.normal(size=shape)
    return (scale * restored).astype(np.float32), (scale * reference).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 32, 33, 1), (2, 12, 13, 14, 1)])
@pytest.mark.parametrize("scale", [1.0, 400.0])
def test_psnr_and_ssim_agree_with_scikit_image(shape, scale):
    a, b = images(shape, scale)
    psnrs = [
        skimage.metrics.peak_signal_noise_ratio(y, x, data_range=scale)
        for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True)
    ]
    ssims = [
        skimage.metrics.structural_similarity(
            x[..., 0], y[..., 0], data_range=scale, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(psnr(a, b, data_range=scale), psnrs, atol=1e-4)
    np.testing.assert_allclose(ssim(a, b, data_range=scale), ssims, atol=1e-4)


def test_agree_with_pix_where_pix_is_right():
    a, b = images((2, 24, 24, 3))
    with jax.numpy_dtype_promotion("standard"):
        expected_ssim = jax.jit(dm_pix.ssim)(a, b)
    np.testing.assert_allclose(psnr(a, b, data_range=1.0), dm_pix.psnr(a, b), rtol=1e-5)
    np.testing.assert_allclose(ssim(a, b, data_range=1.0), expected_ssim, atol=1e-5)
    np.testing.assert_allclose(mse(a, b), dm_pix.mse(a, b), rtol=1e-5)
    np.testing.assert_allclose(mae(a, b), dm_pix.mae(a, b), rtol=1e-5)
    np.testing.assert_allclose(rmse(a, b), dm_pix.rmse(a, b), rtol=1e-5)


def test_psnr_of_a_known_error():
    x = jnp.zeros((1, 4, 4, 1))
    assert float(psnr(x + 4.0, x, data_range=400.0)[0]) == pytest.approx(40.0, abs=1e-4)
    assert float(nrmse(x + 4.0, x, data_range=400.0)[0]) == pytest.approx(0.01)


def test_equal_images_reach_the_ceiling_and_no_more():
    x = jnp.ones((2, 16, 16, 1))
    np.testing.assert_allclose(psnr(x, x, data_range=1.0), PSNR_CEILING, rtol=1e-6)
    np.testing.assert_allclose(ssim(x, x, data_range=1.0), 1.0, atol=1e-6)


def test_mean_over_a_large_volume_keeps_its_digits():
    a = jnp.full((1, 128, 256, 256, 1), 0.1)
    assert float(mse(a, jnp.zeros_like(a))[0]) == pytest.approx(0.01, rel=1e-5)


def test_nan_is_not_hidden():
    x = jnp.ones((2, 16, 16, 1)).at[1, 3, 3].set(jnp.nan)
    assert np.isnan(psnr(x, jnp.ones_like(x), data_range=1.0)).tolist() == [False, True]


def test_bfloat16_is_judged_in_float32():
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in images((1, 16, 16, 1)))
    got = ssim(a, b, data_range=1.0)
    assert got.dtype == jnp.float32
    expected = ssim(a.astype(jnp.float32), b.astype(jnp.float32), data_range=1.0)
    np.testing.assert_allclose(got, expected)


def test_can_be_jitted_and_data_range_must_be_given():
    a, b = images((2, 16, 16, 1))
    both = jax.jit(lambda x, y: (psnr(x, y, data_range=1.0), ssim(x, y, data_range=1.0)))
    for got, plain in zip(both(a, b), (psnr, ssim), strict=True):
        np.testing.assert_allclose(got, plain(a, b, data_range=1.0), rtol=1e-5)
        with pytest.raises(TypeError, match="data_range"):
            plain(a, b)


def test_errors():
    small = jnp.zeros((1, 10, 10, 1))
    with pytest.raises(ValueError, match="window is 11"):
        ssim(small, small, data_range=1.0)
    with pytest.raises(ValueError, match="161 samples"):
        ms_ssim(small, small, data_range=1.0)
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(small, small[:, :5], data_range=1.0)
    with pytest.raises(TypeError, match="floating"):
        mse(small.astype(jnp.int16), small.astype(jnp.int16))
