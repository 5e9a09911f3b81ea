"""Calls in a process of their own, timed there: what one library leaves behind slows no other.

Two libraries in one process share its memory and have two sets of threads. Where PyTorch had just
freed its tensors, XLA's step on 4 x 256² images took a quarter longer, in the kernel, for the
pages of its intermediate results; nobody who trains with one of them has the other beside it.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Calls = Mapping[str, Callable[[], Any]]


class ApartError(RuntimeError):
    """The process ended, or what it called failed."""


class Apart:
    """Named calls that one process makes, one at a time, when it is asked to.

    A context: leaving it ends the process.

    Args:
      make: a function of a module, called in the process with the other arguments; what it returns
        is timed.

    Raises:
      ApartError: `make` or one of its calls failed.
    """

    def __init__(self, make: Callable[..., Calls], *arguments: Any):
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.names: tuple[str, ...] = self._said()

    def milliseconds(self, name: str, clock: str, times: int) -> float:
        """One call, the mean of so many in a row, as a training makes them, after one not timed.

        Args:
          name: one of `names`.
          clock: one of `CLOCKS`; "cpu" is processor time of all of the process's threads.
          times: calls.
        """
        self._pipe.send((name, clock, times))
        return self._said()

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def _said(self) -> Any:
        try:
            said = self._pipe.recv()
        except EOFError:
            said = ApartError("its process ended without a word, as when memory runs out")
        if isinstance(said, ApartError):
            self._process.kill()
            raise said
        return said


def _serve(pipe: Connection, make: Callable[..., Calls], arguments: tuple[Any, ...]) -> None:
    try:
        calls = make(*arguments)
        for call in calls.values():
            call()
        pipe.send(tuple(calls))
        while True:
            name, clock, times = pipe.recv()
            # Memory that was free while others ran may be with the kernel again, or with the host.
            calls[name]()
            start = CLOCKS[clock]()
            for _ in range(times):
                calls[name]()
            pipe.send(1e3 * (CLOCKS[clock]() - start) / times)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # Whoever asked is gone.
    # Whatever fails is told to whoever asked.
    except Exception as error:  # noqa: BLE001
        pipe.send(ApartError(f"{type(error).__name__}: {error}"))
