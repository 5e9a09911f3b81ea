"""What the batches of a step cost before it: medjax's own Grain pipeline, and nothing else."""

import statistics
import time
from typing import Any

from benchmarks.throughput.suite import Work
from medjax.build import batches_of
from medjax.data import catalog
from medjax.errors import UserError

# Enough for the reader threads' buffers to be used up; then it is they who set the pace.
WARM_UP = 4
MOST = 40
SECONDS = 2.0


def delivery(work: Work, threads: int | None = None) -> dict[str, Any]:
    """Seconds in which the row's own scans become a batch, pulled as fast as they come.

    Reading, cutting and stacking on the host, by the experiment's number of reader threads; not
    what is done on the device. It is hidden behind the step while it stays below it.

    Returns:
      "seconds" a batch (mean), "median", "batches" that were pulled, "threads"; or "missing", why
      it was not measured.
    """
    experiment = work.experiment
    try:
        records = catalog.load(experiment.data.name).split("train")
        pulled = batches_of(experiment, records, threads)
    except UserError as error:
        return {"missing": str(error)}
    for _ in range(WARM_UP):
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
        "threads": experiment.data.threads if threads is None else threads,
        "dataset": experiment.data.name,
    }
