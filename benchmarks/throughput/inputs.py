"""What the batches of a step cost before it: medjax's own Grain pipeline, and nothing else."""

import contextlib
import statistics
import time
from typing import Any

from benchmarks.throughput.suite import Work
from medjax.build import batches_of
from medjax.data import catalog
from medjax.errors import UserError

MOST = 40
SECONDS = 2.0


def delivery(work: Work) -> dict[str, Any]:
    """Seconds in which the row's own scans become a batch, pulled as fast as they come.

    Reading, cutting and stacking on the host, by the experiment's reader threads; not what
    is done on the device. It is hidden behind the step while it stays below it.

    Returns:
      "seconds" a batch (mean), "median", "batches" that were pulled, "threads"; or
      "missing", why it was not measured.
    """
    experiment, data = work.experiment, work.experiment.data
    try:
        records = catalog.load(data.name).split("train")
        batches = batches_of(experiment, records)
    except UserError as error:
        return {"missing": str(error)}
    with contextlib.closing(batches) as pulled:
        # Twice what readers hold ready; then it is they who set the pace.
        for _ in range(4 * max(data.threads, 1)):
            next(pulled)
        times = []
        begin = time.perf_counter()
        while len(times) < MOST and (not times or time.perf_counter() - begin < SECONDS):
            asked = time.perf_counter()
            next(pulled)
            times.append(time.perf_counter() - asked)
    return {
        "seconds": statistics.mean(times),
        "median": statistics.median(times),
        "batches": len(times),
        "threads": data.threads,
        "dataset": data.name,
    }
