"""One run in several processes: how they join, how they agree, and how they part.

Each process drives its own devices and runs the same program. Process 0 writes what is written
once. JAX's coordination service, which process 0 hosts, ends those that are left when one dies.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from medjax.errors import UserError
from medjax.train.interrupt import exclusive

_log = logging.getLogger(__name__)
AUTO = "auto"
# Seconds without a heartbeat until a process counts as dead. A network that hangs longer than this
# ends the run, which then goes on from its last checkpoint.
HEARTBEAT = 60
# Seconds to wait for a process that lives.
PATIENCE = 3600
# Seconds that process 0 outlives a fault.
GRACE = 2
_PLACE = re.compile(r"(?P<address>\S+:\d+),(?P<index>\d+)/(?P<count>\d+)")


class PeerLostError(UserError):
    """A step failed that several processes compute together; this one cannot go on alone."""


def join(place: str) -> None:
    """Makes this process one of several, before JAX is asked for any device.

    Args:
        place: `auto` for what JAX finds by itself (SLURM, TPU pods, Open MPI, Kubernetes), or
            `HOST:PORT,INDEX/COUNT`: where process 0 listens, which process this is, and of how
            many. Devices of a process are all of its machine, or those of JAX_LOCAL_DEVICE_IDS.

    Raises:
        UserError: `place` is neither, nothing is found, or the others do not come in time.
    """
    named = {} if place == AUTO else _parse(place)
    # The service would hear SIGTERM in our stead, also where nothing asks it.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT, **named)
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        found = str(error).splitlines()[0][:160]
        raise UserError(
            f"{place}: the processes do not find each other ({found}); "
            "name HOST:PORT,INDEX/COUNT, with a port of process 0 that the others reach"
        ) from error


def _parse(place: str) -> dict[str, Any]:
    found = _PLACE.fullmatch(place)
    if found is None or int(found["index"]) >= int(found["count"]):
        raise UserError(
            f"{place}: is neither {AUTO} nor HOST:PORT,INDEX/COUNT, such as 10.0.0.1:1234,0/2 "
            "for the first of two processes"
        )
    return {
        "coordinator_address": found["address"],
        "process_id": int(found["index"]),
        "num_processes": int(found["count"]),
        "cluster_detection_method": "deactivate",
    }


class Joined:
    """Joins the others as `join` does; what is raised inside ends this process at once.

    An orderly end would wait for the others, and they for it: codes are 2 for a `UserError`, 1 for
    anything else.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        join(self._place)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        expected = isinstance(error, UserError)
        _log.error("medjax: %s", error, exc_info=None if expected else error)
        sys.stdout.flush()
        if first():
            # Its end ends the others by force; where the fault is theirs too, they say so first.
            time.sleep(GRACE)
        os._exit(2 if expected else 1)


def part() -> None:
    """Waits for all processes and leaves the others; this one's devices stay usable."""
    jax.distributed.shutdown()


def several() -> bool:
    """Whether the devices belong to more than this process."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def meet() -> None:
    """Waits until all processes are here, however long one of them compiles or reads.

    Gloo gives up 30 s after one comes to a computation for which another is not ready.
    """
    if several():
        ocp.multihost.get_barrier_sync_fn()(key="medjax", timeout_ms=1000 * PATIENCE)


def from_first(value: int) -> int:
    """The value that process 0 has; all processes must ask."""
    if not several():
        return value
    meet()
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def failed(here: bool) -> int | None:
    """The first process where something failed, or None; all processes must ask."""
    if not several():
        return 0 if here else None
    meet()
    everywhere = np.flatnonzero(multihost_utils.process_allgather(np.int32(here)))
    return int(everywhere[0]) if everywhere.size else None


@contextmanager
def owned(run: Path) -> Iterator[None]:
    """`interrupt.exclusive` by process 0, for all of them.

    Raises:
        UserError: on every process; another run trains in `run`.
    """
    refused = None
    with ExitStack() as stack:
        if first():
            try:
                stack.enter_context(exclusive(run))
            except UserError as error:
                refused = error
        if failed(refused is not None) is not None:
            raise refused or UserError(f"{run}: process 0 may not train in this folder")
        yield
