"""Low-dose CT of a real chest: every method by the measures that clinicians ask for.

    python -m benchmarks.ldct [--doses 0.5,0.25,0.1,0.05] [--seeds 0,1,2] [--out FILE]

Scans held-out slices of a real chest CT (MEDJAX_DATA's ct_chest_kernel_pairs, soft kernel) with the
virtual scanner at each dose, with nodules, rods and faint lesions put into them, and restores them
with the filters in use today and with the networks of published experiments. Those are trained
first as their experiments say, on other patients (runs that are there already go on, finished ones
are only opened). Where torch is installed, RED-CNN and CNN10 in PyTorch stand beside them, trained
on the same pairs for as long as DDANet trained (without it, as the slowest of ours); they restore
whole slices without an ensemble of mirror images, as people run them.

Prints image quality, the clinical columns, their differences to the low-dose input, and what became
of the claims for DDANet at a quarter dose.

There is one chest patient and one kernel: intervals tell how sure the comparison is on these
slices, not on other patients.

It has not been run whole. DDANet and its twin learn from doses of 2 % on since; the table is of
those that learned from 5 % on, and their successors stand below it. Of `--doses 0.25 --seeds 0,1,2
--photons 2e5 --slices 22` (one slice, two noise realisations, an input of 29 HU), with the networks
that were trained (`cpu` settings; DDANet, its twin and RED-CNN under three seeds, CNN10 under two,
RDAE and cGAN under one, no WGAN-VGG; DDANet's seed 1, 564 steps of its seed 2 and the twin's seeds
1 and 2 on an H100, the others of these two on CPU) and PyTorch's of seed 0 (each 37.6 s on the
H100, as DDANet took there; the copy of DDANet that was trained beside them was lost, and the same
seed trained again on CPU):

                                  PSNR   SSIM    RMSE HU  noise HU  nodules found
    low-dose FBP                  27.57  0.7528   74.3     29.3       0.42
    full-dose FBP                 36.09  0.9149   25.5     13.9       0.83
    median 5                      31.82  0.8808   42.3     11.1       0.92
    NLM                           31.55  0.8713   45.7      3.5       0.50
    BM3D                          30.80  0.8732   53.2      2.4       0.25
    RDAE                          32.50  0.8924   39.8      4.5       0.42
    DDANet, its projections       34.84  0.9183   29.7      4.8       0.81
    DDANet, image alone (seed 0)  32.82  0.8951   38.1      4.5       0.33
    image-only twin               33.30  0.9057   35.8      4.4       0.58
    RED-CNN (PyTorch)             31.31  0.8775   46.8      7.2       0.42
    CNN10 (PyTorch)               29.85  0.8441   58.1     15.7       0.50

DDANet minus its twin +1.54 dB [1.34, 1.75] over three seeds, minus RED-CNN in PyTorch +3.31 dB:
HOLD. Noise at most 12 HU: HOLDS. MTF50 at least 95 % of full dose's: 50 % at low contrast, 94 % at
high: DOES NOT HOLD. Nodule sensitivity 97 % of full dose's, wanted 98 %: DOES NOT HOLD. From the
image alone it is behind its twin (-0.58 dB, seed 0), with 40 % of full dose's sensitivity. Lesion
d' told nothing: 0.0 for the input and most rows, 1.1 at full dose, intervals of 1.5 and more each
way.

From doses of 2 % on, under three seeds, DDANet has 36.28 dB, above the full dose's 36.09, 0.9363,
4.3 HU, MTF50 of 51 and 92 % and 93 % of the nodules; its twin 34.51, 0.9254, 3.6 HU, 50 and 93 %,
80 %: +1.77 dB [1.59, 1.97].

DDANet of the lowest doses (ldct_ddanet_lowest_dose), by its own loss, under three seeds, on this
and on other slices ("twin": ldct_ddanet_image with its task and loss; MTF50 at low and at high
contrast and nodules as shares of full dose's):

    slice   input, full dose, this: dB      noise HU           minus twin          MTF50     nodules
    16      28.83    37.86    37.27      22.6  10.9   4.1   +2.55 [2.45, 2.65]   55   96 %    94 %
    22      27.57    36.09    36.07      29.3  13.9   7.5   +2.57 [2.39, 2.70]   66   96      90
    26      26.22    33.12    35.00      73.0  23.1  11.1   +2.46 [2.34, 2.58]   69   97      91
    29      24.83    31.84    34.11      88.8  28.0  14.5   +2.47 [2.34, 2.57]   40   91      94

Its `full` setting, trained on an H100 in 262 s (one seed, restored in float32 on CPU), has 40.98,
40.37, 39.11 and 38.30 dB on these slices, 3.1 to 6.5 above the full dose, and 4.1 to 5.4 HU, with
MTF50 of 70 96, 67 96, 83 96 and 41 93 % and 100, 90, 82 and 91 % of the nodules. On the slices
whose input is near 28 HU (`--slices 16,18,20,22 --repeats 10`; 22 to 29 HU) lesion d' is 0.66,
1.65, 1.11 (input, full dose, this: +0.45 [0.26, 0.64] over the input's), 85, 221 and 220 of 240
nodules are found, MTF50 is 73 and 96 %, noise 5.1 HU: of these claims only that of MTF50 at low
contrast DOES NOT HOLD there.

Lesion d' of input, full dose, this: 1.33, 2.61, 1.49; 0.00, 1.09, 0.00; 0.66, 1.89, 0.05; 0.40,
0.33, 0.79; each uncertain by 1 to 3. With `--repeats 10` on slice 16 (seed 0) 0.93, 2.41, 1.24:
+0.30 [-0.06, 0.66] over the input's, and of 60 nodules as many as full dose shows. Its docstring
has the rows beside it on slice 22.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.ldct import claims, peers, report
from benchmarks.ldct.arguments import parsed
from benchmarks.ldct.chest import Stage, chest_scan, chosen, scanned, set_up
from benchmarks.ldct.rows import Judged, judge
from benchmarks.ldct.suite import (
    Contender,
    classical,
    installed,
    network_rows,
    untouched,
    with_images_alone,
)
from benchmarks.restoration.training import Network, trained
from medjax import run
from medjax.errors import UserError
from medjax.io.common import atomic
from medjax.physics.ct import DoseModel
from medjax.tasks.ldct import LowDoseCT


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        compare(parsed(__doc__, args))
    except UserError as error:
        sys.stderr.write(f"benchmarks.ldct: {error}\n")
        return 2
    return 0


def compare(options: argparse.Namespace) -> None:
    """Trains, measures and prints; writes what there is after every dose."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    task = LowDoseCT(
        window=tuple(options.window),
        views=options.views,
        filter=options.kernel,
        model=DoseModel(photons=options.photons),
    )
    chest = chest_scan()
    slices = chosen(chest, options.slices)
    filters = installed(options.filters)
    if len(filters) < len(options.filters):
        missing = ", ".join(sorted(set(options.filters) - set(filters)))
        console.print(f"not installed, left out: {missing}")
    runs = options.runs / options.setting
    networks = [
        trained(entry, options.setting, seed, options.steps, runs)
        for seed in options.seeds
        for entry in options.networks
    ]
    beside = _peers(options, networks, console)
    networks = [*with_images_alone(networks, chest.volume.shape[-1], options.views), *beside]
    _say("probes, detector, full dose")
    stage = set_up(chest, task, slices, options.repeats)
    full = judge(untouched("full-dose FBP", "reference"), scanned(stage, 1.0), stage)
    kept: dict[str, Any] = {"arguments": _plain(options), "doses": []}
    if networks:
        kept["machine"] = run.describe(networks[0].experiment)
    kept["peers"] = peers.kept(beside)
    for dose in options.doses:
        told = _at(dose, stage, full, filters, networks)
        report.printed(told, console)
        kept["doses"].append(report.kept(told))
        if options.out:
            with atomic(options.out) as temporary:
                temporary.write_text(json.dumps(kept, indent=1, allow_nan=False))
    if claims.DOSE not in options.doses:
        console.print(f"no claim is settled: they are about {claims.DOSE:.0%} of the dose")
    if options.out:
        console.print(f"wrote {options.out}")


def _peers(
    options: argparse.Namespace, networks: Sequence[Network], console: Console
) -> list[Network]:
    """The networks in PyTorch, each trained for as long as ours under the same seed."""
    if options.peers and not peers.installed():
        names = "; ".join(peer.entry.name for peer in options.peers)
        console.print(f"not installed (torch), left out: {names}")
        return []
    found, runs = [], options.runs / options.setting
    for seed in options.seeds:
        seconds = peers.budget(networks, seed)
        if seconds is not None:
            found += [
                peers.trained_peer(peer, options.setting, seed, seconds, runs)
                for peer in options.peers
            ]
    for sentence in peers.told(found):
        console.print(sentence, highlight=False)
    return found


def _at(
    dose: float, stage: Stage, full: Judged, filters: Sequence[str], networks: Sequence[Network]
) -> report.Found:
    """Every row at one dose, the input first, the full dose second."""
    _say(f"{dose:.0%} dose: scanning, tuning filters")
    scene = scanned(stage, dose)
    contenders: list[Contender] = [
        *classical(filters, dataclasses.replace(stage.task, dose=dose)),
        *network_rows(networks),
    ]
    rows = [judge(untouched(stage.task.degraded_name, "degraded"), scene, stage), full]
    for number, contender in enumerate(contenders, 1):
        begin = time.perf_counter()
        rows.append(judge(contender, scene, stage))
        seed = "" if contender.seed is None else f", seed {contender.seed}"
        took = time.perf_counter() - begin
        _say(f"{dose:.0%} dose: {number}/{len(contenders)} {contender.name}{seed}, {took:.0f} s")
    return report.found(stage, scene, rows, full, networks)


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments as JSON knows them, without the names of folders."""
    plain = {k: v for k, v in vars(options).items() if not isinstance(v, Path)}
    return {
        **plain,
        "networks": [entry.name for entry in options.networks],
        "peers": [peer.entry.name for peer in options.peers],
    }


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
