"""Times the CT projector and FBP beside scikit-image and ASTRA's CPU code (where installed).

One parallel-beam slice, by default 512² pixels, 720 views, 736 detectors. Seconds an image, medians
over rounds; every round runs each implementation once, so that a busy machine slows all of them,
and ratios are medians of the ratios of each round. CPU seconds are those of the whole process, so
they do not depend on what else runs: an implementation that uses two cores is charged for both.
scikit-image projects by rotating the image and knows no detectors beyond its width; ASTRA uses its
"linear" kernel, which is Joseph's.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from skimage.transform import iradon, radon

from medjax.physics.ct import ParallelBeam, fbp, project

Calls = dict[str, Callable[[], Any]]


def water(n: int) -> np.ndarray:
    """A disc that fills the image's circle; the times do not depend on what is in it."""
    k = np.arange(n) - (n - 1) / 2
    return (0.02 * (np.hypot(k, k[:, None]) < 0.45 * n)).astype(np.float32)


def medjax_calls(n: int, views: int, batch: int) -> dict[str, Calls]:
    geometry = ParallelBeam.for_image(n, 1.0, views)
    image = jnp.tile(jnp.asarray(water(n))[None, ..., None], (batch, 1, 1, 1))
    forward = jax.jit(lambda x: project(geometry, x))
    back = jax.jit(lambda y: fbp(geometry, y))
    gradient = jax.jit(jax.grad(lambda y: jnp.sum(fbp(geometry, y) ** 2)))
    sinogram = forward(image)
    return {
        "project": {"medjax": lambda: jax.block_until_ready(forward(image))},
        "fbp": {"medjax": lambda: jax.block_until_ready(back(sinogram))},
        "fbp and its gradient": {"medjax": lambda: jax.block_until_ready(gradient(sinogram))},
    }


def skimage_calls(n: int, views: int) -> dict[str, Calls]:
    image, theta = water(n), np.arange(views) * 180 / views
    sinogram = radon(image, theta, circle=True)
    return {
        "project": {"scikit-image": lambda: radon(image, theta, circle=True)},
        "fbp": {"scikit-image": lambda: iradon(sinogram, theta, filter_name="hann")},
    }


def astra_calls(n: int, views: int) -> dict[str, Calls]:
    """Empty where ASTRA is not installed."""
    if importlib.util.find_spec("astra") is None:
        return {}
    import astra

    detectors = ParallelBeam.for_image(n, 1.0, views).detectors
    volume = astra.create_vol_geom(n, n)
    rays = astra.create_proj_geom("parallel", 1.0, detectors, np.arange(views) * np.pi / views)
    projector = astra.create_projector("linear", rays, volume)
    image = water(n)
    _, sinogram = astra.create_sino(image, projector)

    def forward() -> None:
        name, _ = astra.create_sino(image, projector)
        astra.data2d.delete(name)

    def back() -> None:
        data = astra.data2d.create("-sino", rays, sinogram)
        result = astra.data2d.create("-vol", volume)
        settings = astra.astra_dict("FBP")
        settings |= {"ProjectorId": projector, "ProjectionDataId": data}
        settings |= {"ReconstructionDataId": result, "option": {"FilterType": "hann"}}
        algorithm = astra.algorithm.create(settings)
        astra.algorithm.run(algorithm)
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([data, result])

    return {"project": {"astra": forward}, "fbp": {"astra": back}}


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one call."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def measure(calls: Calls, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Times by implementation, one a round, after one unmeasured call of each."""
    for call in calls.values():
        call()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def rows(what: str, calls: Calls, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row an implementation; medjax's times are divided by its batch."""
    images = {name: options.batch if name == "medjax" else 1 for name in calls}
    times = measure(calls, options.rounds)
    found = []
    for name, measured in times.items():
        row: dict[str, Any] = {"what": what, "implementation": name}
        for i, kind in enumerate(("wall", "cpu")):
            each = [t[i] / images[name] for t in measured]
            ours = [t[i] / images["medjax"] for t in times["medjax"]]
            row[f"{kind}_s"] = statistics.median(each)
            ratios = (a / b for a, b in zip(each, ours, strict=True))
            row[f"{kind}_over_medjax"] = statistics.median(ratios)
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.projector", description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="pixels a side (default 512)")
    parser.add_argument("--views", type=int, default=720, help="views (default 720)")
    parser.add_argument("--batch", type=int, default=1, help="images a call of medjax (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--out", type=Path, help="write rows as JSON to this file")
    options = parser.parse_args()
    device = jax.devices()[0]
    about = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    about |= {"machine": platform.machine(), "python": platform.python_version()}
    about |= {"size": options.size, "views": options.views, "batch": options.batch}
    print(*(f"{k} {v}" for k, v in about.items()), sep=", ")
    head = ("wall s", "cpu s", "wall/medjax", "cpu/medjax")
    print(f"{'what':22}{'implementation':16}" + "".join(f"{h:>12}" for h in head))
    cases = medjax_calls(options.size, options.views, options.batch)
    for peer in (skimage_calls, astra_calls):
        for what, calls in peer(options.size, options.views).items():
            cases[what] |= calls
    written = []
    for what, calls in cases.items():
        for row in rows(what, calls, options):
            written.append(row | about)
            keys = ("wall_s", "cpu_s", "wall_over_medjax", "cpu_over_medjax")
            cells = "".join(f"{row[k]:12.2f}" for k in keys)
            print(f"{what:22}{row['implementation']:16}{cells}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
