"""TensorBoard events of a run, on disk as soon as they are flushed."""

import os
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

_START = SessionLog(status=SessionLog.START)


class Events:
    """A file of events in `folder`; steps after `resumed` in earlier files count no more."""

    def __init__(self, folder: Path, resumed: int) -> None:
        folder.mkdir(exist_ok=True)
        # EventsWriter rather than SummaryWriter: the latter queues events in a thread, and what
        # is in the queue when the process is killed would miss from TensorBoard for good.
        self._events = EventsWriter(str(folder / "events"), f".{resumed}.{os.getpid()}")
        self._write(resumed + 1, session_log=_START)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Adds a number."""
        self._write(step, summary=summary.scalar(name, value))

    def image(self, step: int, name: str, image: Float[np.ndarray, "height width channel"]) -> None:
        """Adds a picture, values in [0, 1], one or three channels."""
        self._write(step, summary=summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        """Brings all events to the disk."""
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._events.close()

    def _write(self, step: int, **content: object) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
