"""DDANet and its image-only twin are comparable: same data and schedule, equal size and cost."""

import dataclasses

import pytest

from benchmarks.restoration.training import input_shape
from medjax.experiment import SETTINGS, from_dict, load, published, to_dict
from medjax.models.cost import multiply_adds
from medjax.models.ddanet import DDANetConfig
from medjax.models.size import parameters

NAMES = ("ldct_ddanet", "ldct_ddanet_image")


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_twin_sees_the_same_and_is_as_large_and_as_dear(setting: str) -> None:
    both, alone = (load(published()[name], setting) for name in NAMES)
    assert dataclasses.replace(both.task, dual=False) == alone.task
    for field in ("data", "schedule", "loss", "tiling", "seed"):
        assert getattr(both, field) == getattr(alone, field)
    assert isinstance(both.network, DDANetConfig)
    assert both.network.geometry == both.task.geometry
    shapes = [input_shape(e) for e in (both, alone)]
    size = [parameters(e.network, s) for e, s in zip((both, alone), shapes, strict=True)]
    cost = [multiply_adds(e.network, s) for e, s in zip((both, alone), shapes, strict=True)]
    assert size[1] == pytest.approx(size[0], rel=0.05)
    assert cost[1] == pytest.approx(cost[0], rel=0.1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_they_are_kept_as_json(setting: str) -> None:
    for name in NAMES:
        experiment = load(published()[name], setting)
        assert experiment.name == name
        assert from_dict(to_dict(experiment)) == experiment


@pytest.mark.parametrize("setting", SETTINGS)
def test_for_the_lowest_doses_only_doses_noise_draws_and_loss_differ(setting: str) -> None:
    usual, lowest = (load(published()[n], setting) for n in (NAMES[0], "ldct_ddanet_lowest_dose"))
    assert lowest.task.paired and lowest.loss.pairs and not usual.loss.pairs
    for field in ("network", "method", "schedule", "tiling", "seed"):
        assert getattr(usual, field) == getattr(lowest, field)
    assert from_dict(to_dict(lowest)) == lowest
