"""Real noise: a sharp-kernel chest CT restored, beside the same raw scan by a soft kernel.

    python -m benchmarks.ldct_real [--out FILE]

The scan is MEDJAX_DATA's ct_chest_kernel_pairs (TCIA Lung-PET-CT-Dx A0001, Philips kernels L and
B). There is no clean image of it, so no PSNR: tissue noise before and after, in the same flat
tissue for all, edge sharpness, and whether what was removed shows anatomy. The soft kernel is what
the scanner's own smoothing reaches, at its cost in sharpness. Networks are trained first, on other
patients (runs that are there already go on, finished ones are only opened), and one of them is then
fine-tuned without clean scans on slices 0-13; slices 16-29 are judged.

One patient and one kernel: numbers say nothing of others. Five slices (16, 19, 22, 26, 29; `cpu`
settings, seed 0, `--run DDANet=FOLDER --fine-tune cGAN`; DDANet is ldct_ddanet_lowest_dose with an
earlier loss, cGAN and RDAE were trained by a version whose patches came in another order):

                           noise HU  edge mm  MTF50 1/mm  removed, edges / flat  change HU
    sharp kernel (input)     43.8     1.02      0.419             -                 0.0
    median 3                 16.6     1.17      0.370            3.05              -0.1
    bilateral                 7.9     0.96      0.469            1.78              -0.2
    TV                        4.9     1.21      0.388            1.72              -0.1
    NLM                       2.2     1.03      0.414            0.67              -0.6
    BM3D                      1.4     1.05      0.415            1.04              -0.1
    DDANet, image alone      16.9     1.25      0.339            3.17              -4.5
    cGAN                     10.5     1.29      0.321            2.66              -2.3
    RDAE                     14.0     1.39      0.310            3.54              -2.6
    cGAN, fine-tuned         20.6     1.04      0.410            0.45               0.2
    soft kernel (scanner)     7.8     2.59      0.192            6.60              -2.8

So networks that learned a Hann filter's noise lose to NLM and BM3D on this kernel's, in noise and
in sharpness. Fine-tuned without clean scans the cGAN keeps edges and mean values as those two do
and halves the noise; they leave a twentieth. TV, NLM and BM3D leave less noise than the scanner's
own soft kernel; every row is sharper than it.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.ldct.arguments import NONE
from benchmarks.ldct_real.arguments import parsed
from benchmarks.ldct_real.contenders import (
    Contender,
    Network,
    classical,
    fine_tuned,
    opened,
    row,
    supervised,
)
from benchmarks.ldct_real.measures import COLUMNS, measure
from benchmarks.ldct_real.scans import Pair, kernel_pair
from medjax import run
from medjax.errors import UserError
from medjax.io.common import atomic
from medjax.report.table import Results, Row, to_json, to_rich

SHARP, SOFT = "sharp kernel (input)", "soft kernel (scanner)"


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        compare(parsed(__doc__, args))
    except UserError as error:
        sys.stderr.write(f"benchmarks.ldct_real: {error}\n")
        return 2
    return 0


def compare(options: argparse.Namespace) -> None:
    """Trains, restores, measures and prints; writes what there is at the end."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    pair = kernel_pair(options.slices)
    networks = _networks(options)
    contenders = [
        Contender(SHARP, "degraded", lambda image: image),
        *classical(options.filters),
        *map(row, networks),
    ]
    rows = [_judged(contender, pair) for contender in contenders]
    rows.append(Row(SOFT, _known(measure(pair.soft, pair)), "reference"))
    results = Results("Real chest CT, sharp kernel", _note(pair), COLUMNS, tuple(rows))
    console.print(to_rich(results))
    if options.out:
        kept = {
            "slices": list(pair.numbers),
            "results": to_json(results),
            "networks": {n.name: run.describe(n.trained.experiment) for n in networks},
        }
        with atomic(options.out) as temporary:
            temporary.write_text(json.dumps(kept, indent=1, allow_nan=False))
        console.print(f"wrote {options.out}")


def _networks(options: argparse.Namespace) -> list[Network]:
    runs, setting, seed = options.runs / options.setting, options.setting, options.seed
    networks = [opened(name, folder) for name, folder in options.run]
    networks += [supervised(e, setting, seed, options.steps, runs) for e in options.networks]
    names = [n.name for n in networks]
    if len(set(names)) < len(names):
        raise UserError(f"networks of one name: {', '.join(names)}; give --run other names")
    if options.fine_tune == NONE or not networks:
        return networks
    chosen = options.fine_tune or names[0]
    if chosen not in names:
        raise UserError(f"--fine-tune {chosen}: is none of {', '.join(names)}")
    start = networks[names.index(chosen)]
    return [*networks, fine_tuned(start, setting, seed, options.fine_tune_steps, runs)]


def _judged(contender: Contender, pair: Pair) -> Row:
    # The first call of a network compiles.
    if contender.kind == "network":
        contender.restore(pair.sharp[0])
    begin = time.perf_counter()
    restored = np.stack([contender.restore(image) for image in pair.sharp])
    seconds = (time.perf_counter() - begin) / len(restored)
    sys.stderr.write(f"{contender.name}: {seconds:.1f} s a slice\n")
    took = {} if contender.kind == "degraded" else {"seconds": seconds}
    return Row(contender.name, _known({**measure(restored, pair), **took}), contender.kind)


def _known(values: dict[str, float]) -> dict[str, Any]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _note(pair: Pair) -> str:
    slices = ", ".join(map(str, pair.numbers))
    return (
        f"One patient, slices {slices}. Noise in flat soft tissue found on the soft kernel, edges "
        "likewise. Filters estimate the noise level and are tuned on simulated scans of other "
        "patients; networks learned on other patients, fine-tuned ones then on other slices of "
        "this scan, by the sharp kernel alone. Removed: input less restoration. Less noise with "
        "wider edges is smoothing, not merit; not for diagnosis."
    )


if __name__ == "__main__":
    sys.exit(main())
