"""Stopping a run from outside: signals become a flag, and a run folder has one owner."""

import fcntl
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from medjax.errors import UserError

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether someone asked the run to stop, and with which signal."""

    caught: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        return self.caught is not None


@contextmanager
def catch_signals() -> Iterator[Stop]:
    """SIGINT (Ctrl-C) and SIGTERM set a flag for the loop to read between steps.

    The same signal again ends the process at once, without clean-up: a run survives `kill -9`,
    so it survives that. Outside the main thread, where Python allows no handlers, the flag stays
    unset.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.caught = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
        _log.warning("%s: saving after this step; once more ends at once", stop.caught.name)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shield_children() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which a terminal sends to all of them.

    A loader's workers would die of it before the loop has saved. They inherit the blocked mask;
    here the signal waits until the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Holds `run` for this process alone; the kernel lets go of it however the process ends.

    Raises:
        UserError: another process trains in `run`.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"{run}: another process trains in this folder; wait for it or choose another"
            ) from error
        yield
    finally:
        os.close(lock)
