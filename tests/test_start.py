"""Fine-tuning: a run that starts from the averaged weights of another."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import run
from medjax.build import method_of
from medjax.data.augment import Augment
from medjax.data.builder import DatasetInfo, write_dataset
from medjax.errors import UserError
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.base import Pair
from medjax.methods.config import CGAN, Regression
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig
from medjax.start import beginning
from medjax.tasks.ldct import LowDoseCT

NETWORK = UNetConfig(width=4, depth=1, convs_per_level=1, norm="none")
SUPERVISED = Experiment(
    name="supervised",
    summary="",
    task=LowDoseCT(views=60, augment=Augment(warp_probability=0.0)),
    network=NETWORK,
    method=Regression(ema_decay=0.5),
    data=Data(name="bodies", patch=16, batch=1, threads=0),
    schedule=Schedule(steps=1, peak=0.01),
    keep=Keep(save_every=1, log_every=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Where a supervised run lies, and a dataset for others."""
    root = tmp_path_factory.mktemp("start")
    record = {
        "image": np.full((24, 24), 40.0, np.float32),
        "spacing": np.full(2, 4.0, np.float32),
        "case": "water",
        "subject": "water",
        "modality": "CT",
        "unit": "HU",
        "index": 0,
    }
    info = DatasetInfo("bodies", "1.0.0", "none", "made up", "CT", "HU")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(root / "home"))
        write_dataset(info, {"train": [lambda: [record]]})
        run.train(SUPERVISED, root / "supervised")
        yield root


def fresh(experiment: Experiment, make=jax.eval_shape):
    """What a state of this experiment looks like before its first step."""
    blank = Pair(jnp.zeros((1, 16, 16, 2)), jnp.zeros((1, 16, 16, 1)))
    return make(method_of(experiment).init, jax.random.key(9), blank)


def test_a_gan_starts_from_the_averaged_weights_of_a_regression(folder: Path) -> None:
    gan = CGAN(discriminator=PatchGANConfig(width=4, layers=1, norm="none"))
    own = fresh(dataclasses.replace(SUPERVISED, method=gan), lambda f, *a: jax.jit(f)(*a))
    begin = beginning(str(folder / "supervised"))
    assert begin is not None
    state = begin(own)
    there = run.open_run(folder / "supervised").state.ema
    for variables in (state.ema, state.generator.variables):
        jax.tree.map(np.testing.assert_array_equal, there, variables)
    kept = (own.discriminator, own.generator.opt_state)
    jax.tree.map(
        np.testing.assert_array_equal, kept, (state.discriminator, state.generator.opt_state)
    )


def test_the_start_belongs_to_what_a_run_is_and_is_needed_once(folder: Path) -> None:
    assert "start" not in run.identity(SUPERVISED) and beginning("") is None
    start = folder / "copy"
    (folder / "supervised").rename(start)
    tuned = dataclasses.replace(SUPERVISED, name="tuned", start=str(start))
    assert run.identity(tuned)["start"] == str(start)
    still = dataclasses.replace(tuned, schedule=Schedule(steps=1, peak=1e-30, end=1e-30))
    run.train(still, folder / "tuned")
    there, here = (run.open_run(f).state.ema for f in (start, folder / "tuned"))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-20), there, here)
    start.rename(folder / "supervised")
    assert run.train(still, folder / "tuned").step == 1
    with pytest.raises(UserError, match="start is"):
        run.train(dataclasses.replace(still, start="elsewhere"), folder / "tuned")


def test_what_it_cannot_start_from_is_said(folder: Path) -> None:
    wide = dataclasses.replace(SUPERVISED, network=dataclasses.replace(NETWORK, width=6))
    begin = beginning(str(folder / "supervised"))
    assert begin is not None
    with pytest.raises(UserError, match=r"its network is another: params/.* there and .* here"):
        begin(fresh(wide))
    with pytest.raises(UserError, match="is no run folder"):
        run.train(dataclasses.replace(wide, start=str(folder / "nothing")), folder / "nowhere")
    assert not (folder / "nowhere").exists()
