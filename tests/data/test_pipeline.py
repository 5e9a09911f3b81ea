"""Batches: resume exactly, the same on any number of threads and processes, real patches only."""

import pickle

import numpy as np
import pytest

from medjax.data.pipeline import PatchChoice, _Cached, batches, patches_per_record, random_patch


def source(count=3, shape=(40, 48), unit=""):
    """Images in which a value says where it is: record, row and column."""
    place = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return [
        {
            "image": place + i * place.size,
            "spacing": np.full(len(shape), 0.5 + i, np.float32),
            "case": str(i),
            "subject": str(i),
            "modality": "OT",
            "unit": unit,
            "index": 0,
        }
        for i in range(count)
    ]


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def make(records=None, **changes):
    options = {"batch_size": 4, "patch": (16, 16), "seed": 7, "threads": 2}
    return batches(records or source(), **{**options, **changes})


def test_shapes_and_contents():
    batch = next(make())
    assert batch["image"].shape == (4, 16, 16, 1)
    assert batch["image"].dtype == batch["spacing"].dtype == np.float32
    for image, spacing in zip(batch["image"][..., 0], batch["spacing"], strict=True):
        # Neighbours differ by 1 along a row and by 48 along a column: a contiguous cut.
        np.testing.assert_array_equal(np.diff(image, axis=1), 1)
        np.testing.assert_array_equal(np.diff(image, axis=0), 48)
        assert spacing[0] == 0.5 + image[0, 0] // (40 * 48)


def test_volumes():
    batch = next(make(source(2, (12, 14, 16)), patch=(8, 8, 8)))
    assert batch["image"].shape == (4, 8, 8, 8, 1)
    assert batch["spacing"].shape == (4, 3)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_resume_is_exact(threads):
    whole = make(threads=threads)
    take(whole, 7)
    state = whole.get_state()
    rest = take(whole, 9)
    resumed = make(threads=threads)
    take(resumed, 2)
    resumed.set_state(state)
    assert_equal(take(resumed, 9), rest)


def test_same_batches_on_any_number_of_threads():
    one, many = take(make(threads=0), 12), take(make(threads=4), 12)
    assert_equal(one, many)


def test_processes_share_one_stream():
    alone = take(make(batch_size=6), 10)
    for rows in ((0, 1), (2, 5), (3, 4)):
        mine = [{name: array[list(rows)] for name, array in batch.items()} for batch in alone]
        shared = make(batch_size=6, rows=rows)
        assert_equal(take(shared, 4), mine[:4])
        # The position of a process is that of every other, and of one alone.
        elsewhere = make(batch_size=6)
        elsewhere.set_state(shared.get_state())
        assert_equal(take(elsewhere, 6), alone[4:])


def test_an_epoch_visits_every_record_alike_and_no_epoch_repeats():
    count = 3 * patches_per_record((40, 48), (16, 16))
    assert count == 27
    epochs = [b["image"][..., 0] for b in take(make(batch_size=count), 2)]
    for images in epochs:
        record = images[:, 0, 0] // (40 * 48)
        np.testing.assert_array_equal(np.bincount(record.astype(int)), [9, 9, 9])
        assert len(np.unique(images[:, 0, 0])) > count // 2
    assert not np.array_equal(*epochs)
    assert not np.array_equal(epochs[0], next(make(batch_size=count, seed=8))["image"][..., 0])


def test_patches_lie_uniformly():
    image = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    rng = np.random.default_rng(0)
    draws = [random_patch(image, (5, 5), -1.0, PatchChoice(), rng) for _ in range(4000)]
    assert all(patch[0, 0] == corner[1] for patch, corner in draws)
    counts = np.bincount([corner[1] for _, corner in draws], minlength=16)
    assert len(counts) == 16
    # Binomial(4000, 1/16): mean 250, standard deviation 15.3.
    assert np.all(np.abs(counts - 250) < 5 * 15.3)


def test_small_images_are_reflected_and_context_knows_where():
    seen = []

    def context(record, corner):
        seen.append(corner)
        return {"corner": np.array(corner), "mean": record["image"].mean()}

    batch = next(make(source(1, (6, 40)), context=context, threads=0))
    assert batch["corner"].shape == (4, 2)
    assert batch["mean"].shape == (4,)
    original = source(1, (6, 40))[0]["image"]
    for image, corner in zip(batch["image"][..., 0], batch["corner"], strict=True):
        assert corner[0] == -5
        expected = np.pad(original, ((5, 5), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(image, expected[:, corner[1] : corner[1] + 16])
    assert len(seen) == 4


def test_whole_images():
    batch = next(make(patch=None, batch_size=3, threads=0))
    assert sorted(batch["image"][:, 0, 0, 0]) == [0, 1920, 3840]
    assert batch["image"].shape == (3, 40, 48, 1)


def test_patches_prefer_the_body():
    image = np.full((128, 128), -1000, np.float32)
    image[:, 96:] = 40
    records = [{**source(1)[0], "image": image, "unit": "HU"}]

    def share_of_air(tries):
        iterator = make(
            records, patch=(16, 16), batch_size=64, choice=PatchChoice(tries=tries), threads=0
        )
        air = [np.mean(b["image"] < -950, axis=(1, 2, 3)) for b in take(iterator, 8)]
        return np.mean(np.concatenate(air) > 0.8)

    assert share_of_air(1) > 0.6
    assert share_of_air(4) < 0.35


def test_patch_of_constant_image_still_comes():
    rng = np.random.default_rng(0)
    patch, corner = random_patch(np.zeros((8, 8), np.float32), (8, 8), 1.0, PatchChoice(), rng)
    assert patch.shape == (8, 8)
    assert corner == (0, 0)


def test_cache_limit_changes_nothing():
    assert_equal(take(make(cache_bytes=0), 5), take(make(), 5))


@pytest.mark.parametrize("wrong", [{"patch": (16,)}, {"rows": (3, 4)}, {"patch": (4, 4, 4)}])
def test_programming_errors(wrong):
    with pytest.raises(ValueError, match=r"patch|rows"):
        make(**wrong)
    with pytest.raises(ValueError, match="no records"):
        batches([], batch_size=1, patch=None, seed=0)


def surveyed(seen, **changes):
    """Batches that carry a value of each record, and `seen` of the records that were surveyed."""

    def survey(record):
        seen.append(record["case"])
        return record["image"][:1, :2]

    def context(record, corner):
        return {"first": record["survey"]}

    return make(survey=survey, context=context, **changes)


@pytest.mark.parametrize("threads", [0, 4])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_a_record_is_surveyed_once_for_all_its_patches(threads, cache_bytes):
    seen = []
    for batch in take(surveyed(seen, threads=threads, cache_bytes=cache_bytes), 12):
        number = batch["image"][:, 0, 0, 0] // (40 * 48)
        np.testing.assert_array_equal(batch["first"][:, 0, 0], number * 40 * 48)
        np.testing.assert_array_equal(batch["first"][:, 0, 1], number * 40 * 48 + 1)
    assert sorted(seen) == ["0", "1", "2"]


def test_surveys_that_find_no_room_are_made_again_and_change_nothing():
    seen = []
    one = take(surveyed(seen, threads=0, survey_bytes=0), 6)
    assert len(seen) == 24
    assert_equal(one, take(surveyed([], threads=3), 6))


def test_cached_records_and_surveys_pickle():
    cached = _Cached(source(), 2**20, _top_row, 2**20)
    record, _ = pickle.loads(pickle.dumps(cached))[1]
    np.testing.assert_array_equal(record["survey"], source()[1]["image"][0])
    assert "survey" not in _Cached(source(), 2**20, None, 0)[1][0]


def _top_row(record):
    return record["image"][0].copy()


def test_air_is_counted_as_its_mean():
    rng = np.random.default_rng(3)
    image = rng.choice([-1000.0, 40.0], (90, 70), p=[0.8, 0.2]).astype(np.float32)
    for seed in range(40):
        _, corner = random_patch(
            image, (31, 17), -950.0, PatchChoice(), np.random.default_rng(seed)
        )
        corners = np.random.default_rng(seed).integers(0, (60, 54), size=(4, 2))
        air = [np.mean(image[y : y + 31, x : x + 17] < -950) for y, x in corners]
        few = [i for i, share in enumerate(air) if share <= 0.8]
        assert corner == tuple(corners[few[0] if few else int(np.argmin(air))])
