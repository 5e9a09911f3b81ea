"""Likelihoods against SciPy's densities."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from medjax.losses.likelihood import Law, negative_log_likelihood, standard_deviation

LAWS: dict[Law, stats.rv_continuous] = {"gaussian": stats.norm, "laplace": stats.laplace}


@pytest.mark.parametrize("law", LAWS)
def test_they_are_scipys(law: Law) -> None:
    rng = np.random.default_rng(0)
    error = rng.normal(0, 2, 50).astype(np.float32)
    log_scale = rng.normal(0, 1, 50).astype(np.float32)
    expected = -LAWS[law].logpdf(error, scale=np.exp(log_scale))
    found = negative_log_likelihood(jnp.asarray(error), jnp.asarray(log_scale), law)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    std = standard_deviation(jnp.asarray(log_scale), law)
    np.testing.assert_allclose(std, LAWS[law].std(scale=np.exp(log_scale)), rtol=1e-5)
