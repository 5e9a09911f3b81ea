"""The projector against analytic answers, and its adjoint against the definition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.physics.ct import FanBeam, ParallelBeam, backproject, fbp, project

GEOMETRIES = {
    "parallel": ParallelBeam.for_image(40, 0.9, views=37),
    "parallel, fine detectors": ParallelBeam(40, 0.9, 21, 150, 0.37),
    "parallel, coarse detectors": ParallelBeam(41, 0.9, 8, 30, 2.1),
    "parallel, one view": ParallelBeam.for_image(40, 0.9, views=1),
    "fan": FanBeam.for_image(40, 0.9, views=37, source_mm=60.0),
    "fan, fine detectors": FanBeam(24, 0.9, 21, 120, 0.37, 30.0),
    "fan, coarse detectors": FanBeam(41, 0.9, 19, 40, 2.1, 45.0),
}


def relative_gap(left, right, *factors):
    scale = np.prod([np.linalg.norm(np.asarray(f, np.float64)) for f in factors])
    return abs(float(left) - float(right)) / scale


def dot(a, b):
    return np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_backproject_is_the_adjoint_of_project(geometry):
    rng = np.random.default_rng(0)
    # Positive data, so that the two inner products are large and nothing cancels.
    x = rng.random((2, geometry.image_size, geometry.image_size, 1), np.float32)
    y = rng.random((2, geometry.views, geometry.detectors, 1), np.float32)
    left, right = dot(project(geometry, x), y), dot(x, backproject(geometry, y))
    assert abs(left - right) < 1e-5 * abs(left)


@pytest.mark.parametrize(
    "kind", ["parallel", "parallel, coarse detectors", "fan", "fan, coarse detectors"]
)
def test_fbp_gradient_is_its_exact_transpose(kind):
    geometry = GEOMETRIES[kind]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, geometry.image_size, geometry.image_size, 1)).astype(np.float32)
    y = rng.normal(size=(2, geometry.views, geometry.detectors, 1)).astype(np.float32)
    image, pull = jax.vjp(lambda s: fbp(geometry, s), y)
    (back,) = pull(jnp.asarray(x))
    assert relative_gap(dot(image, x), dot(y, back), image, x) < 1e-5


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_gradients_of_project_go_on_for_ever(kind):
    geometry = GEOMETRIES[kind]
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.random((2, 40, 40, 1), np.float32))
    v = jnp.asarray(rng.random((2, 40, 40, 1), np.float32))

    def energy(x):
        return 0.5 * jnp.sum(project(geometry, x) ** 2)

    gradient = jax.grad(energy)(x)
    np.testing.assert_allclose(gradient, backproject(geometry, project(geometry, x)), rtol=1e-5)
    hessian_v = jax.grad(lambda x: jnp.vdot(jax.grad(energy)(x), v))(x)
    np.testing.assert_allclose(hessian_v, backproject(geometry, project(geometry, v)), rtol=1e-4)


def disc(n, pixel_mm, centre_mm, radius_mm, oversample=8):
    """An antialiased disc of attenuation 1 per mm, its centre at (x, y)."""
    fine = (np.arange(n * oversample) + 0.5) / oversample - n / 2
    inside = np.hypot(fine * pixel_mm - centre_mm[0], (fine * pixel_mm - centre_mm[1])[:, None])
    inside = (inside <= radius_mm).astype(np.float32)
    return inside.reshape(n, oversample, n, oversample).mean((1, 3))


def chord(distance, radius):
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_sinogram_of_a_disc_is_the_analytic_one(kind):
    n, pixel, centre, radius = 128, 0.7, (9.0, -14.0), 21.0
    if kind == "parallel":
        geometry = ParallelBeam.for_image(n, pixel, views=36)
        turn = np.pi
    else:
        geometry = FanBeam.for_image(n, pixel, views=36, source_mm=150.0)
        turn = 2 * np.pi
    theta = np.arange(36)[:, None] * turn / 36
    s = (np.arange(geometry.detectors) - (geometry.detectors - 1) / 2) * pixel
    cos, sin = np.cos(theta), np.sin(theta)
    if kind == "parallel":
        distance = s - (centre[0] * cos + centre[1] * sin)
    else:
        source = 150.0 * np.array([sin, -cos])
        direction = np.array([s * cos, s * sin]) - source
        direction /= np.linalg.norm(direction, axis=0)
        apart = np.array(centre)[:, None, None] - source
        distance = apart[0] * direction[1] - apart[1] * direction[0]
    expected = chord(distance, radius)
    actual = project(geometry, disc(n, pixel, centre, radius)[None, ..., None])[0, ..., 0]
    # A hundredth of the diameter at the rim, where a pixel's width matters; far less on average.
    assert np.abs(actual - expected)[chord(distance, radius) > radius].max() < 0.02 * 2 * radius
    assert np.sqrt(np.mean((actual - expected) ** 2)) < 0.005 * 2 * radius


def test_batch_and_channels_are_independent():
    geometry = GEOMETRIES["parallel"]
    x = np.random.default_rng(3).random((2, 40, 40, 3), np.float32)
    together = project(geometry, x)
    assert together.shape == (2, 37, geometry.detectors, 3)
    back = backproject(geometry, together)
    for c in range(3):
        swapped = x[::-1, ..., c : c + 1]
        alone = project(geometry, swapped)
        np.testing.assert_allclose(together[::-1, ..., c : c + 1], alone, rtol=1e-5, atol=1e-5)
        alone = backproject(geometry, alone)
        np.testing.assert_allclose(back[::-1, ..., c : c + 1], alone, rtol=1e-5)


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_traced_pixel_size_is_the_geometry_scaled(kind):
    base = GEOMETRIES[kind]
    lengths = ["pixel_mm", "detector_mm"] + ["source_mm"] * (kind == "fan")
    large = dataclasses.replace(base, **{name: 1.7 * getattr(base, name) for name in lengths})
    x = np.random.default_rng(4).random((2, 40, 40, 1), np.float32)
    sizes = jnp.asarray([1.7, 1.0]) * base.pixel_mm
    scaled = jax.jit(lambda x, mm: project(base, x, mm))(x, sizes)
    np.testing.assert_allclose(scaled[:1], project(large, x)[:1], rtol=1e-5)
    np.testing.assert_allclose(scaled[1:], project(base, x)[1:], rtol=1e-5)
    restored = fbp(base, scaled, pixel_mm=sizes)
    np.testing.assert_allclose(restored[:1], fbp(large, scaled)[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(restored[1:], fbp(base, scaled)[1:], rtol=1e-4, atol=1e-5)


def test_wrong_shapes_are_refused():
    geometry = ParallelBeam.for_image(16, 1.0, views=4)
    with pytest.raises(ValueError, match="expected an image"):
        project(geometry, np.zeros((1, 15, 16, 1), np.float32))
    with pytest.raises(ValueError, match="expected a sinogram"):
        backproject(geometry, np.zeros((1, 4, 3, 1), np.float32))
    with pytest.raises(ValueError, match="inside the image's circle"):
        FanBeam.for_image(16, 1.0, source_mm=8.0)
    with pytest.raises(ValueError, match="must be positive"):
        ParallelBeam(16, 0.0, 4, 32, 1.0)
