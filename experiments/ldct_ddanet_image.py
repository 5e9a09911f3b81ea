"""Low-dose CT with DDANet's image network alone: the twin that ldct_ddanet is measured against.

    medjax train ldct_ddanet_image

The attention network of ldct_ddanet without projections, widened until parameters and multiply-adds
are those of DDANet's two networks together (792,904 and 329 million against 823,467 and 332 million
in the `cpu` setting; tests keep them within 5 and 10 %). Regions, noise, steps, learning rates and
seed are the same. What came out is in ldct_ddanet's docstring. The `full` setting is for
accelerators and was not run.
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.methods.config import Regression
from medjax.models.attention_net import AttentionNetConfig
from medjax.tasks.ldct_regions import LowDoseRegions


def _twin(setting: str, network: AttentionNetConfig, method: Regression) -> Experiment:
    dual = load(find("ldct_ddanet"), setting)
    assert isinstance(dual.task, LowDoseRegions)
    return dataclasses.replace(
        dual,
        name="ldct_ddanet_image",
        summary="DDANet's image network alone, widened to its parameters",
        task=dataclasses.replace(dual.task, dual=False),
        network=network,
        method=method,
    )


# Multiples of 8: with 66 channels an H100's bfloat16 step took 53 ms, with 64 it takes 18.
full = _twin(
    "full",
    AttentionNetConfig(width=64, depth=3, blocks=2, max_width=208, dtype="bfloat16"),
    Regression(),
)
cpu = _twin("cpu", AttentionNetConfig(width=24, depth=3, max_width=80), Regression(ema_decay=0.998))
