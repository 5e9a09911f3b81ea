import numpy as np
import pytest
from scipy import ndimage

from benchmarks.ldct.blobs import BlobSearch, find_blobs
from benchmarks.ldct.detector import TrainingSlice, detect, train
from medjax.metrics.detection import Lesions, froc, sensitivity_at
from medjax.physics.lesions import Lesion, insert

SPACING = (5.0, 0.8, 0.8)
SIZE = 120


def lung(seed, nodules=4):
    """A round lung with vessels in plane and nodules of soft tissue in it."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE)) * 0.8
    image = np.full((SIZE, SIZE), -860.0)
    for _ in range(10):
        turn, off = rng.uniform(0, np.pi), rng.uniform(-30, 30)
        across = np.abs((y - 48) * np.cos(turn) + (x - 48) * np.sin(turn) - off)
        image += 700 * np.exp(-(across**2) / (2 * rng.uniform(0.5, 1.2) ** 2))
    lungs = np.hypot(y - 48, x - 48) < 44
    places = rng.permutation([(a, b) for a in (26, 48, 70) for b in (26, 48, 70)])[:nodules]
    places = places + rng.uniform(-4, 4, places.shape)
    lesions = [Lesion((0, *place), rng.uniform(4, 9), 850.0) for place in places.tolist()]
    image = insert(np.minimum(image, 50.0)[None], lesions, SPACING)[0]
    image = np.where(lungs, image, 40.0) + rng.normal(0, 10, image.shape)
    truth = Lesions(places.reshape(-1, 2), np.array([lesion.radius_mm for lesion in lesions]))
    return TrainingSlice(image, lungs, SPACING[1:], truth)


@pytest.fixture(scope="module")
def detector():
    return train([lung(seed) for seed in range(12)])


def searched(detector, seeds, noise=0.0):
    rng = np.random.default_rng(0)
    return [
        (detect(detector, s.image + rng.normal(0, noise, s.image.shape), s.lungs, s.spacing), s[3])
        for s in map(lung, seeds)
    ]


@pytest.mark.parametrize("radius", [2.0, 3.0, 5.0])
def test_a_disc_is_one_blob_at_its_middle_whose_size_and_answer_are_known(radius):
    rod = Lesion((0, 40.3, 52.1), 2 * radius, 300.0, "rod")
    image = insert(np.full((1, SIZE, SIZE), -850.0), [rod], SPACING, None)[0]
    search = BlobSearch(radii_mm=(1.0, 2.0, 3.0, 5.0, 7.0), clip_hu=(-1000, 1000))
    position, features = find_blobs(image, np.ones(image.shape, bool), SPACING[1:], search)
    best = features[:, 0].argmax()
    assert position[best] == pytest.approx([40.3, 52.1], abs=0.6)
    assert search.radii_mm[int(features[best, 1])] == radius
    # σ²∇²G on a disc of radius √2 σ gives (2/e) of its height at the middle.
    assert np.exp(features[best, 0]) == pytest.approx(300 * 2 / np.e, rel=0.1)


def test_a_line_is_no_round_blob():
    y, x = np.indices((SIZE, SIZE))
    image = -850 + 500 * np.exp(-((y - x) ** 2) / 18) * np.exp(-((y + x - 120) ** 2) / 1800)
    image += 500 * np.exp(-((y - 90) ** 2 + (x - 25) ** 2) / 8)
    search = BlobSearch()
    position, features = find_blobs(image, np.ones(image.shape, bool), (0.8, 0.8), search)
    roundness = features[:, 2 + len(search.radii_mm)]
    line = np.linalg.norm(position - 48, axis=1).argmin()
    ball = np.linalg.norm(position - 0.8 * np.array([90, 25]), axis=1).argmin()
    assert roundness[line] < 0.3
    assert roundness[ball] > 0.9


def test_blobs_lie_in_the_lungs():
    seen = lung(3)
    position, _ = find_blobs(seen.image, seen.lungs, seen.spacing, BlobSearch())
    y, x = np.round(position / 0.8).astype(int).T
    assert len(position) > 5
    assert seen.lungs[y, x].all()
    nowhere = find_blobs(seen.image, np.zeros_like(seen.lungs), seen.spacing, BlobSearch())
    assert len(nowhere[0]) == 0


def test_nodules_of_unseen_lungs_are_found_among_vessels(detector):
    curve = froc(searched(detector, range(100, 112)), least_mm=2.0)
    assert curve.lesions == 48
    assert sensitivity_at(curve, 2.0) >= 0.85


def test_noise_and_blur_hide_nodules(detector):
    clean = sensitivity_at(froc(searched(detector, range(100, 110)), least_mm=2.0), 1.0)
    noisy = sensitivity_at(froc(searched(detector, range(100, 110), 250.0), least_mm=2.0), 1.0)
    assert noisy < clean - 0.2
    smeared = [
        (detect(detector, ndimage.gaussian_filter(s.image, 4.0), s.lungs, s.spacing), s.nodules)
        for s in map(lung, range(100, 110))
    ]
    assert sensitivity_at(froc(smeared, least_mm=2.0), 1.0) < clean - 0.2


def test_training_is_deterministic():
    slices = [lung(0), lung(1)]
    assert (train(slices).weights == train(slices).weights).all()


def test_refusals():
    with pytest.raises(ValueError, match="no slice"):
        train([])
    with pytest.raises(ValueError, match=r"0 of .* candidates lie on a nodule"):
        train([lung(0, nodules=0)])
