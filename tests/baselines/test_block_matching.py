"""The spectrum BM3D is told, against the noise that the scanner's simulation makes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.baselines import block_matching
from medjax.baselines.block_matching import noise_spectrum
from medjax.baselines.filters import named
from medjax.errors import UserError
from medjax.physics.ct import DoseModel, ParallelBeam, simulate_low_dose


@pytest.mark.parametrize("filter", ["hann", "ramp"])
def test_the_spectrum_is_that_of_the_reconstruction(filter: str) -> None:
    size = 64
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    disc = np.where(np.hypot(y, x) < 24, 0.0, -1000.0).astype(np.float32)
    beam = ParallelBeam.for_image(size, 1.0, 120)
    images = jnp.asarray(np.stack([disc] * 12)[..., None])
    scan = simulate_low_dose(
        jax.random.key(0), images, beam, 0.2, DoseModel(), filter, pixel_mm=1.0
    )  # pyright: ignore
    middle = slice(16, 48)
    noise = np.asarray(scan.low - scan.full)[:, middle, middle, 0]
    window = np.outer(np.hanning(32), np.hanning(32))
    power = (np.abs(np.fft.fft2((noise - noise.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    model = noise_spectrum((32, 32), filter)  # pyright: ignore
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    rings = [(radius > a) & (radius <= a + 0.08) for a in (0.06, 0.14, 0.22, 0.30)]
    found, told = (np.array([p[r].mean() for r in rings]) for p in (power, model))
    np.testing.assert_allclose(found / found.sum(), told / told.sum(), atol=0.06)
    assert model.mean() == pytest.approx(1.0)
    assert model[0, 0] < 0.1


def test_white_noise_is_flat() -> None:
    assert (noise_spectrum((4, 6), "white") == 1).all()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_matching, "PACKAGE", "no_such_package")
    assert not block_matching.available()
    (bm3d,) = named(["BM3D"])
    with pytest.raises(UserError, match="pip install"):
        bm3d.run(np.zeros((8, 8), np.float32), 1.0)


def test_it_denoises_where_it_is_installed() -> None:
    pytest.importorskip("bm3d")
    y, x = np.mgrid[:40, :40]
    clean = (100 * (np.hypot(y - 20, x - 20) < 12)).astype(np.float32)
    noisy = clean + np.random.default_rng(0).normal(size=clean.shape).astype(np.float32) * 10
    (bm3d,) = named(["BM3D"])
    white = dataclasses.replace(bm3d, parameters={"noise": "white", "strength": 1.0})
    restored = white.run(noisy, 10.0)
    assert np.std(restored - clean) < 0.5 * np.std(noisy - clean)
    assert restored.mean() == pytest.approx(clean.mean(), abs=1.0)
