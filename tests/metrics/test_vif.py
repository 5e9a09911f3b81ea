"""VIFp against the published algorithm written again with SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from skimage import data

from medjax.metrics.vif import vif


def scipy_vifp(reference, distorted):
    """Sheikh & Bovik's vifp_mscale, images of 0 to 255, one 2-D convolution a filter."""
    x, y, above, below = reference.astype(float), distorted.astype(float), 0.0, 0.0
    for scale in (1, 2, 3, 4):
        size = 2 ** (4 - scale + 1) + 1
        axis = np.arange(size) - size // 2
        kernel = np.exp(-np.add.outer(axis**2, axis**2) / (2 * (size / 5) ** 2))
        kernel /= kernel.sum()

        def mean(image, kernel=kernel):
            return convolve2d(image, kernel, mode="valid")

        if scale > 1:
            x, y = mean(x)[::2, ::2], mean(y)[::2, ::2]
        s1, s2 = mean(x * x) - mean(x) ** 2, mean(y * y) - mean(y) ** 2
        s12 = mean(x * y) - mean(x) * mean(y)
        s1, s2 = np.maximum(s1, 0), np.maximum(s2, 0)
        g = s12 / (s1 + 1e-10)
        sv = s2 - g * s12
        g[s1 < 1e-10], sv[s1 < 1e-10], s1[s1 < 1e-10] = 0, s2[s1 < 1e-10], 0
        g[s2 < 1e-10], sv[s2 < 1e-10] = 0, 0
        sv[g < 0], g[g < 0] = s2[g < 0], 0
        sv = np.maximum(sv, 1e-10)
        above += np.log10(1 + g**2 * s1 / (sv + 2)).sum()
        below += np.log10(1 + s1 / 2).sum()
    return above / below


def camera():
    return data.camera()[::4, ::4].astype(np.float64)[:90, :101]


def distortions(image):
    rng = np.random.default_rng(0)
    return {
        "blur": gaussian_filter(image, 1.5),
        "noise": image + rng.normal(scale=15, size=image.shape),
        "contrast": 128 + 1.4 * (image - 128),
        "dim": 0.3 * image,
        "inverted": 255 - image,
        "blocks": image // 32 * 32,
    }


def as_batch(*images):
    return jnp.asarray(np.stack(images)[..., None], jnp.float32)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1 / 255, 0.0), (400 / 255, -160.0)])
def test_equals_the_published_algorithm(scale, offset):
    image = camera()
    distorted = distortions(image)
    expected = [scipy_vifp(image, d) for d in distorted.values()]
    restored = as_batch(*(scale * d + offset for d in distorted.values()))
    reference = as_batch(*[scale * image + offset] * len(distorted))
    np.testing.assert_allclose(
        vif(restored, reference, data_range=255 * scale), expected, rtol=2e-3, atol=2e-4
    )
    assert expected[0] < 0.6 and expected[2] > 1 and expected[4] < 0.01


def test_agrees_with_sewar():
    sewar = pytest.importorskip("sewar")
    image = camera()
    noisy = distortions(image)["noise"]
    expected = sewar.vifp(image, noisy)
    got = vif(as_batch(noisy), as_batch(image), data_range=255.0)[0]
    assert float(got) == pytest.approx(expected, rel=2e-3)


def test_a_volume_is_judged_by_all_its_slices_together():
    image = camera()
    flat = np.full_like(image, 100.0)
    noisy = distortions(image)["noise"]
    one = vif(as_batch(noisy), as_batch(image), data_range=255.0)
    volumes = [np.stack([slice_, flat])[None, ..., None] for slice_ in (noisy, image)]
    both = vif(*(jnp.asarray(v, jnp.float32) for v in volumes), data_range=255.0)
    assert both.shape == (1,)
    # A flat slice holds nothing and takes nothing away.
    np.testing.assert_allclose(both, one, rtol=1e-5)


def test_equality_flat_images_and_nan():
    image = as_batch(camera())
    flat = jnp.full_like(image, 7.0)
    assert float(vif(image, image, data_range=255.0)[0]) == pytest.approx(1, abs=1e-4)
    assert float(vif(flat, flat, data_range=255.0)[0]) == 1
    assert float(vif(flat, image, data_range=255.0)[0]) < 1e-3
    assert np.isnan(vif(image.at[0, 3, 3].set(jnp.nan), image, data_range=255.0)[0])


def test_can_be_jitted_with_a_range_a_case():
    images = as_batch(camera(), camera() / 2)
    restored = as_batch(distortions(camera())["noise"], distortions(camera())["noise"] / 2)
    got = jax.jit(lambda r: vif(restored, images, data_range=r))(jnp.asarray([255.0, 127.5]))
    np.testing.assert_allclose(got[0], got[1], rtol=1e-4)


def test_errors():
    small = jnp.zeros((1, 41, 40, 1))
    with pytest.raises(ValueError, match="41 a side"):
        vif(small, small, data_range=1.0)
    fits = jnp.zeros((1, 41, 41, 1))
    assert np.isfinite(vif(fits, fits, data_range=1.0)).all()
    with pytest.raises(ValueError, match="data_range"):
        vif(fits, fits, data_range=0.0)
    with pytest.raises(ValueError, match="shapes differ"):
        vif(fits, fits[:, :, :40], data_range=1.0)
