"""A masked network changes what the mask marks, and nothing else."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.base import NetworkConfig
from medjax.models.masked import MaskedConfig


class Mixed(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(1)(x)


@dataclasses.dataclass(frozen=True)
class MixedConfig(NetworkConfig):
    def build(self):
        return Mixed()


@pytest.mark.parametrize("space", [(12, 10), (6, 8, 10)])
def test_known_samples_pass_bit_by_bit(space) -> None:
    network = MaskedConfig(MixedConfig()).build()
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, *space, 1)).astype(np.float32)
    mask = (rng.random(image.shape) < 0.3).astype(np.float32)
    x = jnp.asarray(np.concatenate([image, mask], -1))
    variables = jax.jit(network.init)(jax.random.key(1), x)
    out = network.apply(variables, x, train=False)
    known = np.asarray(mask) == 0
    np.testing.assert_array_equal(np.asarray(out)[known], np.asarray(image)[known])
    alone = Mixed().apply({"params": variables["params"]["inner"]}, x)
    np.testing.assert_array_equal(np.asarray(out)[~known], np.asarray(alone)[~known])


def test_no_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="mask"):
        MaskedConfig(MixedConfig()).build().init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
