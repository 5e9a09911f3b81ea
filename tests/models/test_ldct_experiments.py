"""The low-dose CT experiments differ in network and method only, so that they can be compared."""

import dataclasses

import pytest

from medjax.experiment import SETTINGS, Experiment, from_dict, load, published, to_dict
from medjax.models.autoencoder import AutoencoderConfig, matching
from medjax.models.rdae import RDAEConfig

NAMES = ("ldct_cgan", "ldct_rdae", "ldct_autoencoder", "ldct_redcnn", "ldct_cnn10")


def experiments(setting: str) -> dict[str, Experiment]:
    return {name: load(published()[name], setting) for name in NAMES}


@pytest.mark.parametrize("setting", SETTINGS)
def test_all_but_network_and_method_is_the_same(setting):
    first, *others = experiments(setting).values()
    own = {"name", "summary", "network", "method"}
    for other in others:
        for field in dataclasses.fields(Experiment):
            same = getattr(first, field.name) == getattr(other, field.name)
            assert same != (field.name in own - {"method"}) or field.name == "method"
    assert len({e.method.label for e in others}) == 1


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_autoencoder_matches_the_dense_one(setting):
    found = experiments(setting)
    dense, plain = (found[name].network for name in ("ldct_rdae", "ldct_autoencoder"))
    assert isinstance(dense, RDAEConfig) and isinstance(plain, AutoencoderConfig)
    assert plain == matching(dense)


@pytest.mark.parametrize("setting", SETTINGS)
def test_they_are_kept_as_json(setting):
    for name, experiment in experiments(setting).items():
        assert experiment.name == name
        assert from_dict(to_dict(experiment)) == experiment


@pytest.mark.parametrize("setting", SETTINGS)
def test_wgan_vgg_differs_in_its_loss_too(setting):
    ours, theirs = (load(published()[name], setting) for name in ("ldct_wgan_vgg", "ldct_redcnn"))
    own = {"name", "summary", "network", "method", "loss"}
    for field in dataclasses.fields(Experiment):
        same = getattr(ours, field.name) == getattr(theirs, field.name)
        assert same != (field.name in own)
    assert from_dict(to_dict(ours)) == ours
