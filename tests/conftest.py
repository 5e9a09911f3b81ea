"""Eight fake CPU devices and strict dtype promotion for every test."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def medjax_data() -> Path:
    """The folder of real data named by MEDJAX_DATA; the test skips without it."""
    folder = os.environ.get("MEDJAX_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDJAX_DATA names no folder of real data")
    return Path(folder)
