"""Recomputed blocks: the same parameters and numbers, less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.methods.base import Pair
from medjax.methods.regression import regression
from medjax.models.rdae import RDAEConfig
from medjax.models.unet import UNetConfig
from medjax.train import mesh as meshes
from medjax.train.compiled import program

CONFIGS = {
    "U-Net": UNetConfig(width=4, depth=1, full_resolution_blocks=1, norm="batch", residual=False),
    "RDAE": RDAEConfig(width=4, growth=4, layers=2, blocks=4, depth=0, residual=False),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_parameters_and_numbers_with_less_memory(name):
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 1))
    batch = {"degraded": x, "clean": 0.5 * x}
    kept, again = (
        regression(dataclasses.replace(CONFIGS[name], remat=remat).build(), optax.sgd(0.1))
        for remat in ("none", "blocks")
    )
    plans = [
        program(
            lambda key, batch, method=method: method.init(key, Pair(**batch)),
            lambda state, batch, key, method=method: method.step(state, Pair(**batch), key),
            batch,
            mesh=meshes.make(1),
            seed=0,
        )
        for method in (kept, again)
    ]
    assert jax.tree.structure(plans[0].like) == jax.tree.structure(plans[1].like)
    # The checkpoint of one serves the other: one starts both.
    states = [plans[0].start(plans[0].put(batch)) for _ in plans]
    runs = [plan.compiled() for plan in plans]
    ends = [
        run(
            state,
            plan.put(batch),
            jax.device_put(jax.random.key(0), meshes.replicated(plan.mesh)),
            jnp.int32(0),
        )
        for plan, run, state in zip(plans, runs, states, strict=True)
    ]
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    temporary = [run.memory_analysis().temp_size_in_bytes for run in runs]
    assert temporary[1] < 0.9 * temporary[0]


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="remat is one of none, blocks"):
        UNetConfig(remat="all")  # pyright: ignore[reportArgumentType]
