"""The cache of arrays: made once, forgotten oldest first, safe between threads."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medjax.data.memory import ArrayCache


def test_the_least_recently_used_array_is_forgotten() -> None:
    cache, made = ArrayCache(limit=2 * 800), []

    def make(key: str) -> np.ndarray:
        made.append(key)
        return np.full(100, float(len(made)))

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, lambda key=key: make(key))
    # "c" pushed out "b", which was used before "a".
    assert made == ["a", "b", "c", "b"]


def test_arrays_cannot_be_changed() -> None:
    array = ArrayCache(1000).get("a", lambda: np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_threads_make_an_array_once() -> None:
    cache, made, begin = ArrayCache(10_000), [], threading.Barrier(8)

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(10.0)

    def ask(_: int) -> float:
        begin.wait()
        return float(cache.get("a", make).sum())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {45.0}
    assert len(made) == 1


def test_a_failure_is_told_and_not_kept() -> None:
    cache = ArrayCache(1000)

    def fail() -> np.ndarray:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fail)
    assert cache.get("a", lambda: np.ones(2)).sum() == 2


def test_a_copy_in_another_process_starts_empty() -> None:
    cache = ArrayCache(1000)
    cache.get("a", lambda: np.zeros(2))
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get("a", lambda: np.ones(2)).sum() == 2
