"""Reading DICOM-CT-PD: files written by pydicom alone against what went into them."""

import dataclasses
from pathlib import Path

import ctpd_samples as samples
import dicom_samples
import numpy as np
import pydicom
import pytest

from medjax.errors import UserError
from medjax.io import read_folder, read_scan
from medjax.io.dicom_projections import read_projections

SMALL = samples.Scanner(rows=4, columns=7, row_mm=9.0, column_mm=60.0, central=(4.25, 2.5))
HELIX = samples.trajectory(20, turn=8, feed=12.0, z=-310.0, mode="FFSXYZ")


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return samples.line_integrals(samples.PHANTOM, SMALL, HELIX)


def change(path: Path, **changes) -> None:
    """Writes the file again with other values: tags as `x70391009`, the rest by keyword."""
    ds = pydicom.dcmread(path)
    for name, value in changes.items():
        if name[0] == "x":
            ds[int(name[1:], 16)].value = value
        else:
            setattr(ds, name, value)
    ds.save_as(path)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("v8", [True, False])
def test_everything_that_was_written_is_read(tmp_path, values, implicit: bool, v8: bool) -> None:
    samples.write(tmp_path, SMALL, HELIX, values, implicit=implicit, v8=v8)
    found = read_projections(tmp_path)
    assert found.line_integrals.dtype == np.float32
    np.testing.assert_allclose(found.line_integrals, values, atol=0.51 * samples.SLOPE)
    np.testing.assert_array_equal(found.instance, np.arange(1, 21))
    whole_turns = (found.centre_angle - HELIX.phi) / (2 * np.pi)
    np.testing.assert_allclose(whole_turns, np.rint(whole_turns[0]), atol=1e-6)
    np.testing.assert_allclose(found.centre_z_mm, HELIX.z, atol=1e-4)
    np.testing.assert_allclose(found.centre_radius_mm, SMALL.rho)
    np.testing.assert_allclose(found.angle - found.centre_angle, HELIX.shift[:, 0], atol=1e-7)
    np.testing.assert_allclose(found.z_mm - found.centre_z_mm, HELIX.shift[:, 1], atol=1e-6)
    np.testing.assert_allclose(found.radius_mm - SMALL.rho, HELIX.shift[:, 2], atol=1e-6)
    currents = [samples.current(phi) for phi in HELIX.phi]
    np.testing.assert_array_equal(found.tube_current_ma, currents)
    photons = [samples.photons(SMALL, phi) for phi in HELIX.phi]
    np.testing.assert_allclose(found.photons, photons, rtol=1e-6)
    detector = found.detector
    assert (detector.shape, detector.rows, detector.columns) == ("CYLINDRICAL", 4, 7)
    assert (detector.row_mm, detector.column_mm) == (9.0, 60.0)
    assert detector.radius_mm == pytest.approx(1085.6)
    assert (detector.central_column, detector.central_row) == (3.25, 1.5)
    assert found.helical and found.focal_spot == "FFSXYZ"
    assert found.mu_water == samples.MU_WATER
    assert found.views_per_turn == 8
    assert found.patient_position == "HFS"
    assert found.corrections == {
        "BeamHardeningCorrection": True,
        "ScatterCorrection": False,
        "Log": True,
    }
    assert found.problems == ()
    assert found.source == tmp_path


def test_images_that_are_not_transposed_are_read_too(tmp_path, values) -> None:
    stored = np.rint((values - samples.INTERCEPT) / samples.SLOPE).astype(np.uint16)
    for i, view in enumerate(stored):
        ds = samples.header(SMALL, HELIX, i)
        ds.Rows, ds.Columns = SMALL.rows, SMALL.columns
        samples.save(ds, view, tmp_path / f"{i}.dcm")
    found = read_projections(tmp_path)
    np.testing.assert_allclose(found.line_integrals, values, atol=0.51 * samples.SLOPE)


def test_bad_files_are_named_and_the_rest_goes_on(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    (tmp_path / "notes.txt").write_text("Doe^Jane patient-7")
    ordinary = dicom_samples.volume_stored(1)[0]
    dicom_samples.save(
        dicom_samples.header(ordinary, series="1.2.4"), ordinary, tmp_path / "image.dcm"
    )
    paths[-1].write_bytes(paths[-1].read_bytes()[:-20])
    paths[0].write_bytes(paths[0].read_bytes()[:300])
    found = read_projections(tmp_path)
    np.testing.assert_array_equal(found.instance, np.arange(2, 20))
    named = {problem.split(":")[0].rsplit("/")[-1] for problem in found.problems}
    assert named == {"notes.txt", "image.dcm", paths[0].name, paths[-1].name}
    assert not any("Doe" in problem or "patient-7" in problem for problem in found.problems)


def test_one_missing_view_is_bridged_and_two_are_a_hole(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    paths[7].unlink()
    found = read_projections(tmp_path)
    assert len(found.instance) == 19
    assert found.problems == (f"{tmp_path}: one view is missing after InstanceNumber 7",)
    paths[8].write_bytes(b"")
    with pytest.raises(UserError, match=r"2 neighbouring views .* \(InstanceNumber 7 to 10\)"):
        read_projections(tmp_path)


def test_a_hole_shows_in_the_angles_of_files_numbered_anew(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    for path in paths[7:9]:
        path.unlink()
    for number, path in enumerate(paths[:7] + paths[9:]):
        change(path, InstanceNumber=number + 1)
    with pytest.raises(UserError, match="2 neighbouring views"):
        read_projections(tmp_path)


def test_a_table_that_steps_between_axial_turns_leaves_no_hole(tmp_path) -> None:
    first, second = samples.trajectory(5, turn=8, z=0.0), samples.trajectory(5, turn=8, z=18.0)
    both = samples.Trajectory(
        np.concatenate([first.phi, second.phi]),
        np.concatenate([first.z, second.z]),
        np.concatenate([first.shift, second.shift]),
        turn=8,
    )
    paths = samples.write(tmp_path, SMALL, both, np.zeros((10, 4, 7)))
    for path in paths:
        change(path, x70371009=b"AXIAL ")
    found = read_projections(tmp_path)
    assert not found.helical
    assert found.problems == ()


def test_views_may_share_an_angle(tmp_path, values) -> None:
    # Four focal spot positions before the gantry is said to move on.
    paired = dataclasses.replace(HELIX, phi=0.4 + np.arange(20) // 4 * 0.7)
    samples.write(tmp_path, SMALL, paired, values)
    assert read_projections(tmp_path).problems == ()


def test_a_z_range_keeps_its_views_only(tmp_path, values) -> None:
    samples.write(tmp_path, SMALL, HELIX, values)
    found = read_projections(tmp_path, z_range=(-312.0, -305.0))
    spot = HELIX.z + HELIX.shift[:, 1]
    wanted = np.flatnonzero((spot > -312) & (spot < -305))
    np.testing.assert_array_equal(found.instance, wanted + 1)
    np.testing.assert_allclose(found.line_integrals, values[wanted], atol=0.51 * samples.SLOPE)
    with pytest.raises(UserError, match=r"the scan runs from -32\d.\d to -29\d.\d mm"):
        read_projections(tmp_path, z_range=(0.0, 10.0))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SeriesInstanceUID": "1.2.5"}, "2 series"),
        ({"x70331063": b"\x02\x00"}, "2 tubes, voltages or energies"),
        ({"InstanceNumber": 5}, r"1 of 20 views are there twice"),
        ({"x70311031": np.float32(900).tobytes()}, "disagrees with .* about the scanner"),
    ],
)
def test_views_of_different_scans_are_not_mixed(tmp_path, values, changes, complaint) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    change(paths[3], **changes)
    with pytest.raises(UserError, match=complaint):
        read_projections(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x70391009": b"NO"}, "LogFlag NO"),
        ({"x7037100a": b"PARALLEL"}, "geometry 'PARALLEL'"),
        ({"x7029100b": b"BENT"}, "unknown shape of detector 'BENT'"),
        ({"x7033100b": np.float32(0.66).tobytes()}, "0.66 rad"),
        ({"x70291010": b"\x05\x00"}, "5x7 elements, but an image of 7x4"),
        ({"x70311001": b""}, "no DetectorFocalCenterAngularPosition"),
        ({"x70311033": b"\0\0\0\0"}, "centre of the detector"),
        ({"x70311003": b"\0\0\0\0"}, "source on the axis"),
        ({"NumberOfFrames": 3}, "3 views in one file"),
        ({"InstanceNumber": None}, "no InstanceNumber"),
        ({"RescaleSlope": None}, "no rescale"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, values, changes, complaint) -> None:
    path = samples.write(tmp_path, SMALL, HELIX, values)[0]
    change(path, **changes)
    with pytest.raises(UserError, match=complaint) as caught:
        read_projections([path])
    assert "Doe" not in str(caught.value) and "patient-7" not in str(caught.value)


def test_photons_and_currents_are_all_or_none(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    change(paths[2], XRayTubeCurrent=None, x70331065=b"")
    found = read_projections(tmp_path)
    assert found.tube_current_ma is None and found.photons is None


def test_water_in_1_per_cm_is_told_by_its_size(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    for path in paths:
        change(path, x70411001=b"0.192 ")
    assert read_projections(tmp_path).mu_water == pytest.approx(0.0192)


def test_places_without_projections(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_projections(tmp_path / "absent")
    with pytest.raises(UserError, match="no file in it"):
        read_projections(tmp_path)
    with pytest.raises(ValueError, match="at least one file"):
        read_projections([])


def test_the_central_column_can_be_set(tmp_path, values) -> None:
    samples.write(tmp_path, SMALL, HELIX, values)
    found = read_projections(tmp_path)
    moved = found.with_central_column(2.5)
    assert moved.detector == dataclasses.replace(found.detector, central_column=2.5)
    assert moved.line_integrals is found.line_integrals


def test_projections_are_not_taken_for_images(tmp_path, values) -> None:
    paths = samples.write(tmp_path, SMALL, HELIX, values)
    with pytest.raises(UserError, match="raw projection"):
        read_scan(paths[0])
    with pytest.raises(UserError, match="no scan in it"):
        read_folder(tmp_path)
