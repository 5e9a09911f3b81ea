"""Eight fake CPU devices, strict dtype promotion and no kept programs for every test."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nothing compiled is kept: tests must not write into the user's home, nor lean on an earlier run.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

import jax
import numpy as np
import pytest
from scipy import ndimage

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def medjax_data() -> Path:
    """The folder of real data named by MEDJAX_DATA; the test skips without it."""
    folder = os.environ.get("MEDJAX_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDJAX_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def small_head() -> dict:
    """A record of an ellipsoid with structure, in voxels of 4 mm."""
    z, y, x = np.mgrid[-8:8, -12:12, -10:10]
    inside = (z / 6) ** 2 + (y / 9) ** 2 + (x / 7) ** 2 < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=inside.shape), 1.0)
    image = (300 * inside * (1 + texture)).astype(np.float32)
    names = {"case": "a", "subject": "a", "modality": "MR", "unit": "", "index": 0}
    return {"image": image, "spacing": np.full(3, 4.0, np.float32), **names}
