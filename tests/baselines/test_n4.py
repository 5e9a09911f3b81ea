"""N4 takes a known bias field out of a phantom, where SimpleITK is installed."""

import numpy as np
import pytest

from medjax.baselines import n4 as module
from medjax.errors import UserError


def test_without_simpleitk_the_remedy_is_named(monkeypatch) -> None:
    monkeypatch.setattr(module, "available", lambda: False)
    with pytest.raises(UserError, match="pip install SimpleITK"):
        module.n4(np.ones((8, 8), np.float32))


def test_a_smooth_field_is_taken_out() -> None:
    pytest.importorskip("SimpleITK")
    z, y, x = np.mgrid[-1:1:24j, -1:1:32j, -1:1:28j]
    tissue = np.where(z**2 + y**2 + x**2 < 0.8, 100.0, 0.0)
    tissue[(np.abs(y) < 0.2) & (np.abs(x) < 0.3)] *= 0.6
    image = (tissue * np.exp(0.3 * x - 0.2 * y)).astype(np.float32)
    even = module.n4(image, shrink=2)
    inside = tissue == 100

    def unevenness(a: np.ndarray) -> float:
        return float(a[inside].std() / a[inside].mean())

    assert unevenness(even) < 0.5 * unevenness(image)
    assert even[tissue > 0].mean() == pytest.approx(image[tissue > 0].mean(), rel=0.02)
