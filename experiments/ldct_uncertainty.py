"""Low-dose CT restored with a map of how far off each pixel may be.

    medjax train ldct_uncertainty
    medjax restore runs/ldct_uncertainty INPUT OUTPUT --uncertainty

The network of ldct_rdae with a second channel, the scale of its errors (Kendall & Gal,
arXiv:1703.04977): slices, doses, patches, steps, learning rates and loss are the same. The scale is
stretched on the validation slice and judged on the test slice, a head of another patient and
scanner at 25 % dose. On the `cpu` setting the command printed 45.65 dB and 0.9917 (one seed, one
noise draw) where NLM reaches 46.57 dB; `ldct_rdae` reports 46.46 dB for the network without the
second channel (mean of three seeds and draws), so the map may have cost something.

Of the errors 75.9, 97.9 and 99.6 % lay inside the intervals of 68, 90 and 95 %: the spread is too
large here. The stretch of 1.24, found on the one validation slice (a neck), made that worse:
without it 68.3, 94.0 and 98.4 % lay inside those of 70, 90 and 95 % (results.json). The errors'
tails are lighter than a Laplace law's. Spearman's correlation of spread and absolute error is 0.33.
The `full` setting was not run.
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.methods.config import Heteroscedastic
from medjax.models.with_spread import WithSpreadConfig


def _unsure(setting: str, method: Heteroscedastic) -> Experiment:
    plain = load(find("ldct_rdae"), setting)
    return dataclasses.replace(
        plain,
        name="ldct_uncertainty",
        summary="low-dose CT with a map of how far off each pixel may be",
        network=WithSpreadConfig(plain.network),
        method=method,
    )


full = _unsure("full", Heteroscedastic())
cpu = _unsure("cpu", Heteroscedastic(ema_decay=0.998))
