import numpy as np
import pytest
from scipy import stats

from medjax.metrics.detection import (
    Candidates,
    Lesions,
    froc,
    match,
    operating_point,
    sensitivity_at,
    threshold_at,
)


def marks(*rows):
    table = np.array(rows, float).reshape(-1, 3)
    return Candidates(table[:, :2], table[:, 2])


def lesions(*rows):
    table = np.array(rows, float).reshape(-1, 3)
    return Lesions(table[:, :2], table[:, 2])


# Image 1: the first lesion found twice, the second missed, one false alarm.
# Image 2: one lesion found weakly. Image 3: healthy, two false alarms.
IMAGES = [
    (
        marks((10, 10, 0.9), (11, 10, 0.5), (30, 30, 0.7)),
        lesions((10, 11, 3), (50, 50, 3)),
    ),
    (marks((20, 20, 0.3)), lesions((20, 22, 4))),
    (marks((5, 5, 0.6), (9, 9, 0.1)), lesions()),
]


def test_marks_belong_to_the_nearest_lesion_within_its_radius():
    best, false = match(*IMAGES[0])
    assert best.tolist() == [0.9, -np.inf]
    assert false.tolist() == [0.7]
    two = lesions((10, 10, 5), (14, 10, 5))
    best, false = match(marks((11, 10, 0.2), (13, 10, 0.4)), two)
    assert best.tolist() == [0.2, 0.4]
    assert not len(false)


def test_a_small_lesion_may_be_given_more_room():
    image = marks((13, 10, 0.5)), lesions((10, 10, 2))
    assert match(*image)[0].tolist() == [-np.inf]
    assert match(*image, least_mm=3.0)[0].tolist() == [0.5]


def test_curve_by_hand():
    curve = froc(IMAGES)
    assert (curve.lesions, curve.images) == (3, 3)
    assert curve.threshold.tolist() == [np.inf, 0.9, 0.7, 0.6, 0.3, 0.1]
    assert curve.sensitivity * 3 == pytest.approx([0, 1, 1, 1, 2, 2])
    assert curve.false_positives * 3 == pytest.approx([0, 0, 1, 2, 2, 3])
    assert sensitivity_at(curve, 0.0) == pytest.approx(1 / 3)
    assert sensitivity_at(curve, 2 / 3) == pytest.approx(2 / 3)
    assert threshold_at(curve, 0.5) == 0.7
    assert threshold_at(curve, 100.0) == 0.1


def test_point_by_hand():
    point = operating_point(IMAGES, 0.6)
    assert point.sensitivity == pytest.approx(1 / 3)
    assert point.false_positives == pytest.approx(2 / 3)
    assert point.precision == pytest.approx(1 / 3)
    # One found, two missed, two false alarms.
    assert point.f1 == pytest.approx(2 / (2 + 2 + 2))
    assert point.found.tolist() == [True, False, False]
    assert point.image.tolist() == [0, 0, 1]


def test_point_and_curve_agree_at_every_threshold():
    rng = np.random.default_rng(0)
    images = [
        (
            Candidates(rng.uniform(0, 60, (40, 2)), np.round(rng.normal(size=40), 1)),
            Lesions(rng.uniform(0, 60, (4, 2)), rng.uniform(2, 6, 4)),
        )
        for _ in range(5)
    ]
    curve = froc(images)
    points = [operating_point(images, threshold) for threshold in curve.threshold]
    assert curve.sensitivity.tolist() == [point.sensitivity for point in points]
    assert curve.false_positives.tolist() == [point.false_positives for point in points]
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.false_positives) >= 0).all()


def test_normal_scores_give_the_analytic_curve():
    """Every lesion marked with N(2, 1), twenty false marks an image with N(0, 1)."""
    rng = np.random.default_rng(1)
    truth = Lesions(np.array([[0.0, 0.0], [50.0, 0.0]]), np.array([3.0, 3.0]))
    far = np.full((20, 2), 500.0)
    images = [
        (
            Candidates(
                np.concatenate([truth.centre_mm, far]),
                np.concatenate([rng.normal(2, 1, 2), rng.normal(0, 1, 20)]),
            ),
            truth,
        )
        for _ in range(1500)
    ]
    curve = froc(images)
    for rate in (0.125, 0.5, 2.0):
        threshold = stats.norm.isf(rate / 20)
        assert sensitivity_at(curve, rate) == pytest.approx(stats.norm.sf(threshold - 2), abs=0.03)
        assert threshold_at(curve, rate) == pytest.approx(threshold, abs=0.05)


def test_perfect_and_blind_detectors():
    truth = lesions((10, 10, 3), (40, 40, 3))
    perfect = [(marks((10, 10, 1), (40, 40, 1)), truth)]
    assert sensitivity_at(froc(perfect), 0.0) == 1
    assert operating_point(perfect, 0.5).f1 == 1
    blind = [(marks(), truth)]
    assert sensitivity_at(froc(blind), 8.0) == 0
    assert operating_point(blind, 0.5).f1 == 0
    assert np.isnan(operating_point(blind, 0.5).precision)


def test_three_dimensions():
    found = Candidates(np.array([[5.0, 10.0, 10.0]]), np.array([1.0]))
    assert match(found, Lesions(np.array([[0.0, 10.0, 10.0]]), np.array([4.0])))[1].tolist() == [1]
    assert match(found, Lesions(np.array([[2.0, 10.0, 10.0]]), np.array([4.0])))[0].tolist() == [1]


def test_refusals():
    with pytest.raises(ValueError, match="no lesion"):
        froc([IMAGES[2]])
    with pytest.raises(ValueError, match="no image"):
        froc([])
    with pytest.raises(ValueError, match="no image"):
        operating_point([], 0.5)
    with pytest.raises(ValueError, match="do not fit"):
        match(Candidates(np.zeros((2, 2)), np.zeros(3)), lesions())
    with pytest.raises(ValueError, match="not a number"):
        match(marks((1, 1, np.nan)), lesions())
    with pytest.raises(ValueError, match="differ in axes"):
        match(marks((1, 1, 1)), Lesions(np.zeros((1, 3)), np.ones(1)))
