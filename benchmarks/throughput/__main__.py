"""How fast every model and method is: steps, restorations, MFU, memory, beside PyTorch.

    python -m benchmarks.throughput [--models unet-2d,rdae] [--dtype float32,bfloat16] [--out FILE]

A row is a network under a method on random images of the shape of its experiment's batches. Timed
are a training step (gradients, Adam, averaged weights) and a restoration of the batch, each
compiled for the first device. Compiling is told apart, and so is input: the time in which medjax's
own pipeline delivers a batch of the row's real scans, as a share of the step. Degrading and
augmenting on the device belong to the task and are left out.

MFU is the operations that the algorithm needs (benchmarks/throughput/analytic.py) a second, over
the device's dense peak: its maker's, or on CPUs and devices without one in the table the fastest
matrix product measured at the start. They are checked against the operations of the program.

PyTorch runs the same step from the same weights, eagerly and through torch.compile, contiguous and
channels last, in float32 or under bfloat16 autocast; first step and restored images are compared
with ours before anything is timed. Every round runs every contender once; torch/ours is the median
of the rounds' ratios of its fastest (by the median) to ours: above 1 ours is faster.

On an NVIDIA H100 (SXM; jax 0.11.2, PyTorch 2.11), `--setting full --dtype bfloat16 --rounds 5`, in
batches of 32 patches of 128 x 128, of unet-3d 4 of 48 x 64 x 64, of unet-3d-cgan 4 of 32 x 96 x 80,
of unet-4d 8 of 16 x 8 x 48 x 48, gave (benchmarks/results/nvidia-h100-80gb-hbm3.json):

                    step ms    MFU    torch/ours step    torch/ours restore
    unet-2d             5.4   11.7 %       1.74                1.40
    unet-2d-cgan       10.2   28.7 %       1.35                1.00
    unet-3d            12.6    8.9 %       1.30                1.02
    unet-3d-cgan       19.5    9.3 %       1.10                0.86
    unet-4d            48.6   12.5 %       1.45                1.41
    rdae               47.3   18.9 %       0.92                0.93
    red-cnn            12.8   36.6 %       1.00                1.07
    cnn10               1.8    4.0 %       1.29                1.04
    autoencoder        48.2   18.0 %       1.04                0.98
    attention          18.4   16.7 %       2.53                1.05
    plain-cnn           2.6    6.7 %       1.11                1.11
    plain-cnn-wgan     25.9   12.2 %       3.61                1.51
    cvae               13.6   33.2 %       1.49                0.98
    vae                 4.0   26.5 %       1.88                2.07
    ddanet             43.4    7.3 %    (no peer in PyTorch)

So 1.2 times PyTorch's best holds for the step of nine of fourteen. RED-CNN's step is cuDNN's
convolutions to 83 %, which are PyTorch's too. RDAE's spends 34 of 46 ms in them or joining what
they gave, and 9 in adding up gradients of what is joined. attention took 53.2 ms with 66 channels
(0.98 of PyTorch's), which no tensor core takes; with 64 PyTorch's steps scatter between 30 and 52
ms, the fastest of them 1.64 times ours. vae's peer is eager: torch.compile failed on it. Compiling
three rows at a time took 11 to 100 s a row for ours, within 205 s with all of PyTorch's
(`--compile-limit 235`).

Input on that host's 16 cores, which the step hides while it is shorter: a batch of CT patches takes
8 to 11 ms with two reader threads, of unet-3d 11 ms with four, of attention 20 ms (median; mean 44,
while variations of the slices are still being made) with eight: more than the steps of attention,
cnn10, plain-cnn and unet-2d, so that a training of these waits for its input. Of unet-3d-cgan it
took 33 ms (median 0.2) and of ddanet, whose strips took longer to cut then, 170.

On 2 idle cores of an AMD EPYC (jax 0.10.1, oneDNN 3.2, PyTorch 2.13), `--rounds 7 --quality-steps
200`, `cpu` settings in float32 (benchmarks/results/epyc-2-cores.json), PyTorch is slower in every
step but unet-3d's (1.11, 1.47 and 0.98 in three runs), and in restoring but three. In a run before
it was so in all steps (1.05 to 2.04; in restoring 0.83 to 1.89). Without oneDNN
(medjax/nn/onednn.py) PyTorch was ahead in most rows, with 0.59 to 1.22 in the step. PSNR is that of
held-out scans after 200 steps of training, beside the degraded scans' own: too few for RED-CNN and
CNN10, which start as the identity, and for the autoencoder.

                      step ms    MFU    torch/ours step  restore     PSNR, dB, from
    unet-2d              30.7   52.1 %      1.01       1.05     45.45  38.28
    unet-2d-cgan         34.4   59.0 %      1.11       0.98     45.42  38.28
    unet-3d              40.6   30.3 %      0.98       0.94     23.37   9.73
    unet-3d-cgan        145.0   37.0 %      1.25       1.82     32.69  23.53
    unet-4d              45.5   34.3 %      2.07       1.41     31.12  22.80
    unet-4d-cgan         63.7   26.6 %      3.56       2.02     31.44  22.80
    rdae                 48.0   27.2 %      1.44       1.63     43.83  38.28
    red-cnn              20.2   67.6 %      1.31       1.20     38.28  38.28
    cnn10                14.4   65.1 %      1.32       1.07     38.31  38.28
    autoencoder          28.9   45.0 %      1.48       1.54     21.03  38.28
    attention            33.0   49.5 %      2.05       1.83     43.88  38.28
    plain-cnn            29.8   78.0 %      1.27       0.99     40.85  38.28
    plain-cnn-wgan       70.7   42.0 %      1.96       1.03     38.58  38.28
    cvae                 39.8   59.8 %      1.24       1.35     31.19  29.04
    vae                  17.4   57.3 %      1.64       1.36       (generates)
    ddanet               98.0   16.6 %         (no peer)        43.27  38.28

Both sides have large pages, and freed memory is kept (`medjax.heap`). On a Xeon, before
oneDNN and all that, the WGAN's step had 0.40 (benchmarks/results/xeon-2-cores.json, twelve rows).

With --processes rows compile together, which saves most of the time on GPUs with many CPU cores;
they are still timed one after another, with nothing beside them.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from benchmarks.throughput import show, together
from benchmarks.throughput.arguments import parsed
from benchmarks.throughput.measure import HAS_TORCH, measured, say, torch_on
from benchmarks.throughput.peaks import Peak, peak
from benchmarks.throughput.quality import judged
from benchmarks.throughput.suite import BY_NAME, Work, work
from medjax.errors import UserError
from medjax.heap import keep_freed, start_with_large_pages
from medjax.io.common import atomic
from medjax.nn import onednn, onednn_library


def main() -> int:
    options = parsed(__doc__)
    # As medjax's own commands do; PyTorch's memory is kept with it.
    keep_freed()
    # Two frameworks share one GPU; read when JAX first looks for devices.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device = jax.devices()[0]
    setting = options.setting or ("cpu" if device.platform == "cpu" else "full")
    # All of them before the first is timed: a shape that does not fit is told at once.
    works = [
        work(row, setting, dtype, options.shape, options.batch)
        for row in options.rows
        for dtype in options.dtype
    ]
    if options.torch_threads:
        torch_on(options.torch_threads)
    peaks = {dtype: peak(device, dtype) for dtype in options.dtype}
    found: dict[str, Any] = {"machine": machine(peaks), "setting": setting, "rows": []}
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > 0.5:
        say(f"this machine is busy (load {busy:.1f} a core): times will be noisy")
    found["failed"] = []
    for row in _each(options, works, peaks, setting):
        if isinstance(row, together.Failed):
            say(f"{row.row}, {row.dtype}: {row.reason}")
            found["failed"].append(row._asdict())
            continue
        found["rows"].append(row)
        _write(found, options.out)
    # After all are timed: a training leaves its memory behind.
    for row in found["rows"] if options.quality_steps else ():
        judge = BY_NAME[row["row"]]
        row["quality"] = judged(judge, setting, options.quality_steps, options.runs)
        _write(found, options.out)
    console = Console(width=None if sys.stdout.isatty() else 220)
    console.print(show.table(found["rows"], f"{device.device_kind}, {setting} setting"))
    for dtype, top in peaks.items():
        console.print(f"{dtype} peak {top.flops / 1e12:.3g} TFLOP/s: {top.source}", highlight=False)
    for line in show.notes(found["rows"]):
        console.print(line, highlight=False)
    for row in found["failed"]:
        console.print(f"{row['row']} {row['dtype']}: not measured: {row['reason']}")
    if options.out:
        console.print(f"wrote {options.out}")
    differs = any(x.get("differs") for r in found["rows"] for x in r["torch"]["left_out"])
    agree = all(r["operations"]["agree"] for r in found["rows"])
    return 1 if differs or found["failed"] or not agree else 0


def _write(found: dict[str, Any], out: Path | None) -> None:
    if out:
        with atomic(out) as temporary:
            temporary.write_text(json.dumps(found, indent=1))


def _each(
    options: argparse.Namespace, works: Sequence[Work], peaks: dict[str, Peak], setting: str
) -> Iterator[dict[str, Any] | together.Failed]:
    """The rows, measured as they are asked for."""
    if options.processes == 1:
        for each in works:
            yield measured(each, peaks[each.dtype], options.rounds, options.torch)
        return
    jobs = [
        together.Job(
            each.row.name,
            setting,
            each.dtype,
            options.shape,
            options.batch,
            peaks[each.dtype],
            options.rounds,
            options.torch,
            options.torch_threads,
        )
        for each in works
    ]
    yield from together.in_groups(jobs, options.processes, options.compile_limit)


def machine(peaks: dict[str, Peak]) -> dict[str, Any]:
    """Device, versions and flags."""
    device = jax.devices()[0]
    told: dict[str, Any] = {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            **{
                n: version(n)
                for n in ("medjax", "jax", "jaxlib", "flax", "optax", "grain", "numpy")
            },
        },
        # Compile times are those of reading, where it held the programs already.
        "compilation_cache": bool(jax.config.jax_compilation_cache_dir),  # pyright: ignore
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "oneDNN": onednn_library.version() if onednn.used() else None,
        "matmul_precision": jax.config.jax_default_matmul_precision,  # pyright: ignore
        "peaks": {d: {"flops_per_second": p.flops, "source": p.source} for d, p in peaks.items()},
    }
    if HAS_TORCH:
        import torch

        gpu = torch.cuda.is_available()
        told["torch"] = {
            "version": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if gpu else "cpu",
        }
    return told


if __name__ == "__main__":
    start_with_large_pages()
    try:
        sys.exit(main())
    except UserError as error:
        sys.stderr.write(f"benchmarks.throughput: {error}\n")
        sys.exit(2)
