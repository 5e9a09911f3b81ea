"""One row measured: ours and PyTorch's in interleaved rounds, operations, memory, input."""

import importlib.util
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.throughput import analytic
from benchmarks.throughput.flops import count
from benchmarks.throughput.inputs import delivery
from benchmarks.throughput.ours import Ours, device_peak, repeats
from benchmarks.throughput.peaks import Peak
from benchmarks.throughput.suite import Work
from medjax.build import method_of
from medjax.methods.base import Pair
from medjax.models.size import parameters

HAS_TORCH = importlib.util.find_spec("torch") is not None
# Relative, of the program's operations to those that the algebra asks for. In the `cpu` setting
# they are equal but for the 4-D cGAN, which multiplies some zeros of its folding: 0.07 %.
OPERATIONS_AGREE = 0.01
OURS = "medjax"

Calls = dict[str, Callable[[int], float]]


def measured(
    work: Work,
    peak: Peak,
    rounds: int,
    torch: str,
    turn: Callable[[], None] = lambda: None,
    until: float | None = None,
) -> dict[str, Any]:
    """All that is to be told of a row.

    Args:
      work: the row.
      peak: of the device, in the row's type.
      rounds: timed, after one that is not.
      torch: "all", "eager" or "none".
      turn: called when all is compiled and before anything is timed; may wait.
      until: of the monotonic clock, when what PyTorch has not compiled is left out.
    """
    say(f"{work.row.name}, {work.dtype}: compiling")
    ours = Ours(work)
    say(f"{work.row.name}, {work.dtype}: compiled in {sum(ours.compile_seconds):.0f} s")
    first = ours.first()
    training: Calls = {OURS: ours.train}
    inference: Calls = {OURS: ours.restore}
    peers, left = _beside(work, ours, first, torch, until)
    for peer in peers:
        training[peer.name], inference[peer.name] = peer.train, peer.restore
    operations = counted(work)
    turn()
    say(f"{work.row.name}, {work.dtype}: {rounds} rounds of {', '.join(training)}")
    trained, restored = interleaved(training, rounds), interleaved(inference, rounds)
    step = statistics.median(trained[OURS])
    input_time = delivery(work)
    if "seconds" in input_time:
        input_time["fraction_of_step"] = input_time["seconds"] / step
    config = work.experiment.network
    return {
        "row": work.row.name,
        "network": type(config).__name__.removesuffix("Config"),
        "method": work.experiment.method.label,
        "dtype": work.dtype,
        "dims": work.dims,
        "degraded_shape": jax.tree.map(lambda x: list(x.shape), work.degraded),
        "images_per_batch": work.images,
        "parameters": parameters(config, jax.tree.map(lambda x: x.shape, work.degraded)),
        "compile_seconds": {
            "training": ours.compile_seconds[0],
            "inference": ours.compile_seconds[1],
        },
        "training": timing(trained[OURS], work, operations["model_training"], peak),
        "inference": timing(restored[OURS], work, operations["model_inference"], peak),
        "operations": operations,
        "memory_bytes": ours.memory,
        "device_peak_bytes_so_far": device_peak(),
        "input": input_time,
        "torch": {
            "variants": [
                {
                    "name": peer.name,
                    "difference": peer.difference,
                    "training_seconds": trained[peer.name],
                    "inference_seconds": restored[peer.name],
                }
                for peer in peers
            ],
            "left_out": left,
            "training": ratio(trained),
            "inference": ratio(restored),
        },
    }


def counted(work: Work) -> dict[str, Any]:
    """Operations of the row's step: by algebra, by its program, by what this device runs of it."""
    experiment = work.experiment
    method = method_of(experiment)
    needed = analytic.step(experiment.network.build(), experiment.method, work.degraded, work.clean)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(method.init, key, Pair(work.degraded, work.clean))
    given = (state, Pair(work.degraded, work.clean), key)
    program = count(method.step, *given)
    restoring = count(method.restore, state, work.degraded)
    here = count(method.step, *given, platform=jax.default_backend())
    disagreement = max(
        abs(program.total / needed.training - 1), abs(restoring.total / needed.inference - 1)
    )
    return {
        "model_training": needed.training,
        "model_inference": needed.inference,
        "model_training_with_padding": needed.padded_training,
        "program_training": program.total,
        "program_inference": restoring.total,
        "program_by_primitive": dict(program.flops),
        "uncounted": dict(program.named),
        "disagreement": disagreement,
        "agree": disagreement <= OPERATIONS_AGREE,
        "training_as_lowered_here": here.total,
    }


def _beside(
    work: Work, ours: Ours, first: Any, torch: str, until: float | None
) -> tuple[list[Any], list[Any]]:
    """The variants that are equal to ours, and those left out with the reason."""
    if torch == "none":
        return [], []
    if not HAS_TORCH:
        return [], [{"name": "PyTorch", "reason": "not installed: pip install torch"}]
    from benchmarks.throughput import beside

    if reason := beside.reason_against(work):
        return [], [{"name": "PyTorch", "reason": reason}]
    kept, left = [], []
    allowed = tolerance(work.dtype, jax.default_backend())
    for found in beside.variants(work, ours, first, torch == "all", until):
        if isinstance(found, beside.Left):
            left.append(found._asdict())
        elif found.difference > allowed:
            reason = f"DIFFERS from ours by {found.difference:.2g}, more than {allowed:g}"
            left.append({"name": found.name, "reason": reason, "differs": True})
        else:
            kept.append(found)
        said = f" left out: {left[-1]['reason']}" if left and left[-1]["name"] == found.name else ""
        say(f"{work.row.name}, {work.dtype}: PyTorch {found.name}{said}")
    return kept, left


def tolerance(dtype: str, platform: str) -> float:
    """How far PyTorch's first step and images may be from ours, relative.

    In float32 on CPU it is rounding (1e-6 is usual). GPUs multiply float32 as TF32, of 10 bits
    beside the leading one, bfloat16 has 7: either is off by some of its last bits.
    """
    if dtype == "bfloat16":
        return 0.1
    return 1e-4 if platform == "cpu" else 0.02


def interleaved(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each contender, one value a round.

    Every round runs each once, so that a busy machine slows all of them. Each is run untimed
    before, which also tells how often it runs in a round.
    """
    often = {}
    for name, call in calls.items():
        call(1)
        often[name] = repeats(call(1))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(call(often[name]))
    return times


def timing(seconds: Sequence[float], work: Work, operations: int, peak: Peak) -> dict[str, Any]:
    """Median, quartiles, and what follows from the median."""
    low, median, high = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {
        "seconds": list(seconds),
        "median_seconds": median,
        "quartiles_seconds": [low, high],
        "images_per_second": work.images / median,
        "voxels_per_second": work.voxels / median,
        "model_flops_per_second": operations / median,
        "mfu": operations / median / peak.flops,
    }


def ratio(times: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """PyTorch's best (by its median) over ours, round by round; above 1 ours is faster."""
    others = {name: statistics.median(t) for name, t in times.items() if name != OURS}
    if not others:
        return None
    best = min(others, key=others.__getitem__)
    ratios = [a / b for a, b in zip(times[best], times[OURS], strict=True)]
    low, median, high = (float(q) for q in np.quantile(ratios, (0.25, 0.5, 0.75)))
    return {"best": best, "torch_over_ours": median, "quartiles": [low, high]}


def torch_on(threads: int) -> None:
    """PyTorch on so many CPU threads, where it is installed."""
    if HAS_TORCH:
        import torch

        torch.set_num_threads(threads)


def leave_room() -> None:
    """Gives the device what PyTorch keeps of it and does not use."""
    if HAS_TORCH:
        import torch

        torch.cuda.empty_cache()


def say(line: str) -> None:
    """Progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
