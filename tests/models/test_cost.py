"""Multiply-adds counted by hand."""

import dataclasses

import flax.linen as nn
import pytest

from medjax.models.base import NetworkConfig
from medjax.models.cost import multiply_adds
from medjax.models.unet import UNetConfig
from medjax.nn.conv import Conv, ConvTranspose


class Halves(nn.Module):
    """Returns a list, as parts of networks may."""

    @nn.compact
    def __call__(self, x):
        return [x, x]


class Three(nn.Module):
    """A grouped strided convolution, a transposed one, a dense layer: a network, nested."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = Conv(8, (3, 3), strides=2, feature_group_count=2)(x)
        x = sum(Halves()(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = ConvTranspose(3, (4, 4), strides=(2, 2))(x)
        return nn.Dense(5)(x)


@dataclasses.dataclass(frozen=True)
class ThreeConfig(NetworkConfig):
    def build(self) -> nn.Module:
        return Three()


def test_each_kind_of_layer_by_hand() -> None:
    grouped = (2 * 8 * 8) * 8 * (9 * 4 // 2)
    transposed = (2 * 8 * 8) * 8 * 16 * 3
    dense = (2 * 16 * 16) * 3 * 5
    assert multiply_adds(ThreeConfig(), (2, 16, 16, 4)) == grouped + transposed + dense


@pytest.mark.parametrize("dims", [2, 3])
def test_a_flat_unet_by_hand(dims: int) -> None:
    config = UNetConfig(width=4, depth=0, convs_per_level=2, norm="none")
    places, taps = 8**dims, 3**dims
    expected = places * taps * (2 * 4 + 4 * 4 + 4 * 1)
    assert multiply_adds(config, (1, *(8,) * dims, 2)) == expected
