"""Classical fillings against what interpolation must give, and scikit-image on the whole image."""

import numpy as np
import pytest
from skimage import restoration

from medjax.baselines.inpaint import biharmonic, linear, nearest
from medjax.physics.missing import MISSING

FILLS = {
    "nearest": nearest,
    "linear": linear,
    "biharmonic": lambda image, sigma: biharmonic(image, sigma, tile=16, reach=12),
}


def smooth(shape=(40, 44)) -> np.ndarray:
    where = np.indices(shape) / 9.0
    return (100 * np.sin(where).sum(0)).astype(np.float32)


def lose(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """Loses every eighth row, a block, and some samples."""
    rng = np.random.default_rng(seed)
    missing = rng.random(image.shape) < 0.05
    missing[4::8] = True
    missing[12:19, 20:27] = True
    return np.where(missing, np.float32(MISSING), image)


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("shape", [(40, 44), (16, 18, 20)])
def test_known_samples_stay_and_gaps_are_filled(name, shape) -> None:
    image = smooth(shape)
    holes = lose(image)
    filled = FILLS[name](holes, 0.0)
    known = holes != MISSING
    np.testing.assert_array_equal(filled[known], image[known])
    assert np.abs(filled - image).max() < (60 if name == "nearest" else 30)
    assert (holes == MISSING).any()


def test_linear_is_exact_on_ramps_and_continues_at_the_border() -> None:
    ramp = np.add.outer(3.0 * np.arange(20), np.arange(6)).astype(np.float32)
    holes = ramp.copy()
    holes[5:9, 2] = holes[18:, 4] = MISSING
    filled = linear(holes, 0.0)
    np.testing.assert_allclose(filled[:, 2], ramp[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(filled[18:, 4], ramp[17, 4])
    holes[:, 3] = MISSING
    assert (linear(holes, 0.0)[:, 3] != MISSING).all()


def test_nearest_takes_the_nearest() -> None:
    line = np.array([[1.0, MISSING, MISSING, MISSING, 5.0]], np.float32)
    assert nearest(line, 0.0)[0, [1, 3]].tolist() == [1, 5]


def test_biharmonic_in_tiles_is_nearly_scikit_images() -> None:
    image = smooth()
    holes = lose(image)
    missing = holes == MISSING
    whole = restoration.inpaint_biharmonic(np.where(missing, 0, image), missing)
    tiled = FILLS["biharmonic"](holes, 0.0)
    assert np.abs(tiled - whole).max() < 0.05 * np.ptp(image)
    assert np.mean(np.square(tiled - image)) < np.mean(np.square(linear(holes, 0.0) - image))


@pytest.mark.parametrize("name", FILLS)
def test_nothing_missing_or_nothing_known_comes_back(name) -> None:
    image = smooth()
    np.testing.assert_array_equal(FILLS[name](image, 0.0), image)
    nothing = np.full((8, 8), MISSING, np.float32)
    np.testing.assert_array_equal(FILLS[name](nothing, 0.0), nothing)
