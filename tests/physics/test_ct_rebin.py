"""Rebinning raw projections against analytic line integrals and against the object itself."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from medjax.errors import UserError
from medjax.io.dicom_projections import read_projections
from medjax.io.projections import Projections
from medjax.physics.ct import FanBeam, ParallelBeam, fbp
from medjax.physics.ct_centre import measure_central_column
from medjax.physics.ct_rebin import attenuation_to_hu, geometry_for, rebin

sys.path.append(str(Path(__file__).parents[1] / "io"))
sys.path.append(str(Path(__file__).parent))
import ctpd_samples as samples
from ct_scans import SCANNER, scan

# Without an end along z, single-slice rebinning is exact: what differs is interpolation.
ENDLESS = tuple((m, (*a[:2], 1e6), hu) for m, a, hu in samples.PHANTOM)


def analytic(phantom: tuple, geometry: ParallelBeam | FanBeam, z: float) -> np.ndarray:
    """Line integrals in the plane along the rays that ct_geometry's docstring describes."""
    angles = np.arange(geometry.views) / geometry.views * np.pi
    s = (np.arange(geometry.detectors) - (geometry.detectors - 1) / 2) * geometry.detector_mm
    total = np.zeros((geometry.views, geometry.detectors))
    for v, angle in enumerate(angles if isinstance(geometry, ParallelBeam) else 2 * angles):
        # Image rows grow downwards, the manual's y upwards.
        along = np.array([np.cos(angle), -np.sin(angle), 0])
        through = np.array([-np.sin(angle), -np.cos(angle), 0])
        middle = s[:, None] * along + [0, 0, z]
        start = middle - 600 * through
        if isinstance(geometry, FanBeam):
            start = -geometry.source_mm * through + [0, 0, z]
        for centre, axes, hu in phantom:
            chords = samples.chord(start, middle, centre, axes)
            total[v] += samples.MU_WATER * hu / 1000 * chords
    return total


def off(
    projections: Projections, geometry, z: float = 0.0, phantom: tuple = ENDLESS, **options
) -> float:
    """Root mean square error of a sinogram as a part of its largest value."""
    expected = analytic(phantom, geometry, z)
    found = rebin(projections, z, geometry, **options)
    assert found.shape == (1, geometry.views, geometry.detectors, 1)
    error = np.sqrt(np.mean((found[0, ..., 0] - expected) ** 2))
    return float(error / expected.max())


def without_shift(projections: Projections, name: str) -> Projections:
    """A scan that forgets one part of the flying focal spot."""
    return dataclasses.replace(projections, **{name: getattr(projections, f"centre_{name}")})


PARALLEL = ParallelBeam(64, 3.0, 120, 120, 1.9)
FAN = FanBeam(64, 3.0, 120, 120, 2.0, 640.0)


@pytest.mark.parametrize("shape", ["CYLINDRICAL", "SPHERICAL", "FLAT"])
@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_every_detector_gives_the_analytic_sinogram(shape: str, geometry) -> None:
    scanner = dataclasses.replace(SCANNER, shape=shape)
    path = samples.trajectory(240, turn=120, feed=12.0)
    assert off(scan(ENDLESS, path, scanner), geometry) < 0.01


@pytest.mark.parametrize("mode", ["FFSZ", "FFSXY", "FFSXYZ"])
def test_every_flying_focal_spot_gives_the_analytic_sinogram(mode: str) -> None:
    path = samples.trajectory(480, turn=240, feed=12.0, mode=mode)
    assert off(scan(ENDLESS, path), PARALLEL) < 0.01


def test_a_gantry_may_turn_the_other_way() -> None:
    path = samples.trajectory(240, turn=120, feed=12.0)
    back = dataclasses.replace(path, phi=-path.phi)
    assert off(scan(ENDLESS, back), PARALLEL) < 0.01


@pytest.mark.parametrize(
    ("mode", "part"), [("FFSZ", "radius_mm"), ("FFSXY", "angle"), ("FFSXYZ", "angle")]
)
def test_the_focal_spot_shift_is_used(mode: str, part: str) -> None:
    # Shifts eight times life-size stand out of the interpolation error of coarse detectors.
    path = samples.trajectory(480, turn=240, feed=12.0, mode=mode)
    found = scan(ENDLESS, dataclasses.replace(path, shift=8 * path.shift))
    assert off(found, PARALLEL) < 0.006
    assert off(without_shift(found, part), PARALLEL) > 0.01


def test_the_axial_shift_is_used() -> None:
    # A lens whose radius falls from 12 to 4 mm over the 3 mm that the shift moves the plane.
    phantom = (ENDLESS[0], ((30.0, 20.0, 3.0), (16.0, 16.0, 8.0), 1000.0))
    path = samples.trajectory(120, turn=120)
    path.shift[:, 1] = 6.0
    found = scan(phantom, path)
    assert off(found, PARALLEL, 8.0, phantom) < 0.006
    assert off(without_shift(found, "z_mm"), PARALLEL, 8.0, phantom) > 0.02


def test_a_wrong_central_column_shows() -> None:
    found = scan(ENDLESS, samples.trajectory(120, turn=120))
    column = found.detector.central_column
    assert off(found, PARALLEL) < 0.006
    assert off(found.with_central_column(column + 1), PARALLEL) > 0.01


def test_a_short_scan_is_enough() -> None:
    # Half a turn and the fan: every ray once.
    assert off(scan(ENDLESS, samples.trajectory(80, turn=120)), PARALLEL) < 0.01


def picked(path: samples.Trajectory, views: np.ndarray) -> samples.Trajectory:
    return dataclasses.replace(path, phi=path.phi[views], z=path.z[views], shift=path.shift[views])


@pytest.mark.parametrize("mode", ["FFSNONE", "FFSZ"])
def test_one_missing_view_is_bridged(mode: str) -> None:
    # Half a turn and the fan, so that no other view sees the rays of the one left out.
    path = samples.trajectory(160, turn=240, mode=mode)
    assert off(scan(ENDLESS, picked(path, np.delete(np.arange(160), 75))), PARALLEL) < 0.01


def test_a_hole_between_views_is_not_bridged() -> None:
    path = samples.trajectory(80, turn=120)
    with pytest.raises(UserError, match="were not measured"):
        rebin(scan(ENDLESS, picked(path, np.delete(np.arange(80), [40, 41]))), 0.0, PARALLEL)


def test_axial_turns_of_a_stepping_table() -> None:
    first, second = samples.trajectory(130, turn=120), samples.trajectory(130, turn=120, z=18.0)
    both = samples.Trajectory(
        np.unwrap(np.concatenate([first.phi, second.phi]) % (2 * np.pi)),
        np.concatenate([first.z, second.z]),
        np.concatenate([first.shift, second.shift]),
    )
    found = scan(samples.PHANTOM, both)
    for z in (1.0, 16.0):
        assert off(found, PARALLEL, z, samples.PHANTOM) < 0.01


def reconstruct(found: Projections, z: float, geometry, **options) -> np.ndarray:
    sinogram = rebin(found, z, geometry, **options)
    assert found.mu_water is not None
    return np.asarray(attenuation_to_hu(fbp(geometry, sinogram), found.mu_water))[0, ..., 0]


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_the_phantom_comes_back_in_hu(kind) -> None:
    found = scan(samples.PHANTOM, samples.trajectory(600, turn=240, feed=14.0, mode="FFSZ"))
    geometry = geometry_for(found, 72, 2.5, kind)
    # At -14 mm the sphere (z from -12 to 20) is gone.
    for z in (-14.0, 4.0, 12.0):
        hu = reconstruct(found, z, geometry)
        truth = samples.slice_hu(samples.PHANTOM, 72, 2.5, z)
        for value in (-600, 0, 300):
            inside = binary_erosion(truth == value, iterations=2)
            if value == 300 and z == -14.0:
                assert not inside.any()
                continue
            assert inside.sum() > 10
            assert hu[inside].mean() == pytest.approx(value, abs=3)
            assert hu[inside].std() < 12


@pytest.mark.parametrize(
    "path",
    [
        samples.trajectory(120, turn=120),
        samples.trajectory(320, turn=160, feed=10.0, mode="FFSXYZ"),
    ],
    ids=["axial", "helical"],
)
def test_from_files_to_hu(tmp_path: Path, path: samples.Trajectory) -> None:
    values = samples.line_integrals(samples.PHANTOM, SCANNER, path)
    samples.write(tmp_path, SCANNER, path, values)
    found = read_projections(tmp_path)
    hu = reconstruct(found, 4.0, geometry_for(found, 72, 2.5))
    truth = samples.slice_hu(samples.PHANTOM, 72, 2.5, 4.0)
    for value in (-600, 0, 300):
        inside = binary_erosion(truth == value, iterations=2)
        assert hu[inside].mean() == pytest.approx(value, abs=4)
        assert hu[inside].std() < 15


def test_a_thick_slice_is_the_mean_over_it() -> None:
    found = scan(samples.PHANTOM, samples.trajectory(480, turn=120, feed=10.0))
    geometry = ParallelBeam(72, 2.5, 120, 120, 2.0)
    hu = reconstruct(found, 16.0, geometry, thickness_mm=12.0)
    thin = [samples.slice_hu(samples.PHANTOM, 72, 2.5, z) for z in np.arange(10.25, 22, 0.5)]
    inside = binary_erosion(samples.slice_hu(samples.PHANTOM, 72, 2.5, 14.0) == 300, iterations=3)
    expected = np.mean(thin, axis=0)[inside].mean()
    assert 150 < expected < 250
    assert hu[inside].mean() == pytest.approx(expected, abs=15)


@pytest.mark.slow
def test_a_clinical_scanner_at_pitch_1() -> None:
    # The Somatom Definition of LDCT-and-Projection-data, with every other view.
    scanner = samples.Scanner(
        rows=64, columns=736, row_mm=1.0947, column_mm=1.2858, central=(369.625, 32.5)
    )
    phantom = (
        ((0.0, 0.0, 0.0), (150.0, 110.0, 1e5), 1000.0),
        ((0.0, 40.0, 0.0), (12.0, 12.0, 12.0), 800.0),
        ((-120.0, 10.0, 3.0), (12.0, 12.0, 12.0), 800.0),
    )
    path = samples.trajectory(1324, turn=1152, feed=38.4, mode="FFSZ")
    found = scan(phantom, path, scanner)
    hu = reconstruct(found, 0.0, geometry_for(found, 400, 0.9))
    truth = samples.slice_hu(phantom, 400, 0.9, 0.0)
    for value, noise in ((0, 8), (800, 5)):
        inside = binary_erosion(truth == value, iterations=3)
        assert hu[inside].mean() == pytest.approx(value, abs=2)
        assert hu[inside].std() < noise
        assert np.abs(hu[inside] - value).max() < 80
    column = measure_central_column(found.with_central_column(370.1), 0.0)
    assert column == pytest.approx(368.625, abs=0.05)


def test_several_planes_make_a_batch() -> None:
    found = scan(samples.PHANTOM, samples.trajectory(240, turn=120, feed=10.0))
    both = rebin(found, [-4.0, 6.0], PARALLEL)
    assert both.shape == (2, 120, 120, 1)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[1], rebin(found, np.float32(6), PARALLEL)[0])


def test_planes_outside_the_scan_are_refused() -> None:
    found = scan(ENDLESS, samples.trajectory(240, turn=120, feed=10.0))
    with pytest.raises(UserError, match=r"scan: \d+.\d % of the rays in the plane z = 40.0 mm"):
        rebin(found, 40.0, PARALLEL)
    fast = scan(ENDLESS, samples.trajectory(240, turn=120, feed=60.0))
    with pytest.raises(UserError, match="were not measured"):
        rebin(fast, 0.0, PARALLEL)


def test_a_focal_spot_without_period_is_refused() -> None:
    path = samples.trajectory(40, turn=40)
    path.shift[:, 2] = np.linspace(0, 2, 40)
    with pytest.raises(UserError, match="takes 40 positions"):
        rebin(scan(ENDLESS, path), 0.0, PARALLEL)


def test_geometry_for_covers_the_field_at_the_scans_own_spacing() -> None:
    found = scan(ENDLESS, samples.trajectory(240, turn=120, mode="FFSXY"))
    reach = 595 * np.sin(62 * 3.6 / 1085.6)
    parallel, fan = (geometry_for(found, 64, 2.0, kind) for kind in ("parallel", "fan"))
    for geometry in (parallel, fan):
        assert geometry.detector_mm == pytest.approx(3.6 * 595 / 1085.6, rel=1e-3)
        assert geometry.views == 60
        assert geometry.ray_offsets_mm()[-1] == pytest.approx(reach, abs=4)
    assert isinstance(fan, FanBeam) and fan.source_mm == pytest.approx(595)


@pytest.mark.parametrize("height", [0.0, 1.5])
def test_height_is_a_part(height: float) -> None:
    found = scan(ENDLESS, samples.trajectory(4, turn=4))
    with pytest.raises(ValueError, match="height"):
        rebin(found, 0.0, PARALLEL, height=height)


@pytest.mark.parametrize("rows", [1, 2, 10])
@pytest.mark.parametrize("method", ["360li", "180li"])
def test_interpolation_between_turns(method, rows: int) -> None:
    scanner = dataclasses.replace(SCANNER, rows=rows, central=(62.75, (rows + 1) / 2))
    # Faster than the rows are high, so that every detector leaves gaps between its turns.
    path = samples.trajectory(240, turn=60, feed=2.4 * rows)
    found = scan(ENDLESS, path, scanner)
    assert off(found, PARALLEL, method=method) < 0.012
    assert off(found, FAN, method=method) < 0.012


def wedge(found: Projections) -> Projections:
    """Readings as long as the ray, times the z at which it passes the axis: linear in the plane."""
    d = found.detector
    up = (d.central_row - np.arange(d.rows)[:, None]) * d.row_mm / d.radius_mm
    away = (np.arange(d.columns) - d.central_column) * d.column_mm / d.radius_mm
    if d.shape == "FLAT":
        cos_fan = np.cos(np.arctan(away))
        climb = up * cos_fan
    else:
        cos_fan = np.cos(away)
        climb = np.tan(up) if d.shape == "SPHERICAL" else up
    at_axis = found.z_mm[:, None, None] + found.radius_mm[:, None, None] * cos_fan * climb
    values = at_axis * np.sqrt(1 + climb**2)
    return dataclasses.replace(found, line_integrals=values.astype(np.float32))


@pytest.mark.parametrize("method", ["ssr", "360li"])
@pytest.mark.parametrize("shape", ["CYLINDRICAL", "SPHERICAL", "FLAT"])
def test_steep_rays_come_from_the_right_row_and_are_scaled(shape: str, method) -> None:
    scanner = dataclasses.replace(SCANNER, shape=shape, row_mm=40.0)
    found = wedge(scan((), samples.trajectory(130, turn=120), scanner))
    # Rays here are 1.4 % longer than in the plane; interpolation between such rows costs 0.02 %.
    sinogram = rebin(found, 90.0, PARALLEL, method=method)[0, :, 8:-8, 0]
    np.testing.assert_allclose(sinogram, 90.0, rtol=1e-3)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("method", ["360li", "180li"])
def test_interpolation_between_turns_is_linear_in_z(method, rows: int) -> None:
    scanner = dataclasses.replace(SCANNER, rows=rows, central=(62.75, (rows + 1) / 2))
    found = wedge(scan((), samples.trajectory(300, turn=60, feed=2.6 * rows), scanner))
    for z in (-1.0, 0.0, 0.7):
        sinogram = rebin(found, z, PARALLEL, method=method)[0, :, 8:-8, 0]
        np.testing.assert_allclose(sinogram, z, atol=2e-3)


def test_rays_from_the_opposite_side_are_nearer() -> None:
    scanner = dataclasses.replace(SCANNER, rows=1, central=(62.75, 1.0))
    found = scan((), samples.trajectory(300, turn=60, feed=4.0), scanner)
    bent = np.broadcast_to(found.z_mm[:, None, None] ** 2, found.line_integrals.shape)
    found = dataclasses.replace(found, line_integrals=bent.astype(np.float32))
    # Between samples at a and b, the chord of z squared lies (z - a)(b - z) above it: 2.67 on
    # average for b - a = 4, and where the opposite side halves that, on the axis, a quarter of it.
    full, half = (
        rebin(found, 0.0, FAN, method=method)[0, :, 59:61].mean() for method in ("360li", "180li")
    )
    assert full == pytest.approx(4**2 / 6, rel=0.03)
    assert half == pytest.approx(2**2 / 6, rel=0.03)


@pytest.mark.parametrize("method", ["ssr", "180li"])
def test_a_detector_off_centre_sees_outer_rays_from_one_side(method) -> None:
    scanner = dataclasses.replace(SCANNER, central=(50.0, 5.5))
    found = wedge(scan((), samples.trajectory(130, turn=120), scanner))
    wide = ParallelBeam(64, 3.0, 120, 144, 1.9)
    np.testing.assert_allclose(rebin(found, 2.0, wide, method=method), 2.0, atol=2e-3)


def test_single_slice_rebinning_is_linear_in_z() -> None:
    found = wedge(scan((), samples.trajectory(300, turn=60, feed=8.0)))
    for z in (-1.0, 0.0, 0.7):
        np.testing.assert_allclose(rebin(found, z, PARALLEL)[0, :, 8:-8, 0], z, atol=2e-3)


def test_unknown_methods_are_refused() -> None:
    found = scan(ENDLESS, samples.trajectory(4, turn=4))
    with pytest.raises(ValueError, match="unknown method 'fdk'; there are ssr, 360li, 180li"):
        rebin(found, 0.0, PARALLEL, method="fdk")  # pyright: ignore
