"""A cache of arrays on the host that forgets what was not used for longest."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

import numpy as np


class ArrayCache:
    """Keeps read-only arrays up to a limit of bytes; safe to share between threads.

    Two threads that ask for the same array make it once; arrays are made outside of the lock,
    so one thread's waiting is not everyone's.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Future[np.ndarray]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this key, made now if it is not kept; what `make` raises is raised."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            else:
                mine = self._kept[key] = Future()
        if found is not None:
            return found.result()
        try:
            array = make()
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            mine.set_exception(error)
            raise
        array.flags.writeable = False
        with self._lock:
            self._bytes += array.nbytes
            mine.set_result(array)
            self._forget()
        return array

    def _forget(self) -> None:
        for key in list(self._kept):
            if self._bytes <= self._limit:
                return
            if self._kept[key].done():
                self._bytes -= self._kept.pop(key).result().nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayCache, (self._limit,)
