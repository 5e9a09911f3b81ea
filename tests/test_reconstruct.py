"""Raw projections to a volume: values and places against the phantom they are of."""

import dataclasses
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medjax import cli
from medjax.errors import UserError
from medjax.physics.ct import ParallelBeam
from medjax.physics.ct_strips import region_of
from medjax.reconstruct import Planes, reconstruct
from medjax.tasks.ldct import LowDoseCT
from medjax.tasks.ldct_regions import LowDoseRegions
from medjax.tasks.mri_motion import MRIMotion

sys.path.append(str(Path(__file__).parent / "io"))
sys.path.append(str(Path(__file__).parent / "physics"))
import ctpd_samples as samples
from ct_scans import SCANNER, scan

PATH = samples.trajectory(720, turn=180, feed=12.0)
PLANES = Planes(size=48, pixel_mm=4.0, every_mm=4.0, thickness_mm=0.0, z_mm=(-8.0, 8.0))


@pytest.fixture(scope="module")
def projections():
    return scan(samples.PHANTOM, PATH)


@dataclasses.dataclass
class Run:
    """A run that remembers what it was given and adds 100 HU."""

    task: object
    given: list

    @property
    def experiment(self) -> "Run":
        return self

    def restore(self, given):
        self.given.append(given)
        return (given["image"] if isinstance(given, dict) else given) + 100


def test_values_and_places_are_the_phantoms(projections) -> None:
    seen = []
    found = reconstruct(projections, PLANES, progress=lambda done, of: seen.append((done, of)))
    assert found.array.shape == (5, 48, 48) and found.spacing == (4.0, 4.0, 4.0)
    assert (found.modality, found.unit) == ("CT", "HU") and seen[-1] == (5, 5)
    for z, image in zip((-8, -4, 0, 4, 8), found.array, strict=True):
        true = samples.slice_hu(samples.PHANTOM, 48, 4.0, z)
        inside = np.abs(true) < 1
        assert abs(np.median(image[inside])) < 15
        assert np.corrcoef(image.ravel(), true.ravel())[0, 1] > 0.97
    # The sphere of +300 HU, right, up and into the gantry from the isocentre, and what is there.
    assert found.affine is not None
    index = np.linalg.solve(found.affine, [-30.0, 20.0, 4.0, 1.0])[:3].round().astype(int)
    assert found.array[tuple(index)] == pytest.approx(300, abs=60)


@pytest.mark.parametrize(
    ("position", "sphere"),
    [("HFP", (30, -20, 4)), ("FFS", (30, 20, -4)), ("FFP", (-30, -20, -4))],
)
def test_other_positions_turn_the_patient(projections, position: str, sphere) -> None:
    turned = dataclasses.replace(projections, patient_position=position)
    found = reconstruct(turned, dataclasses.replace(PLANES, z_mm=(4.0, 4.0)))
    assert found.affine is not None
    index = np.linalg.solve(found.affine, [*sphere, 1.0])[:3].round().astype(int)
    assert found.array[tuple(index)] == pytest.approx(300, abs=60)


def test_an_unknown_position_is_warned_about(projections, caplog) -> None:
    turned = dataclasses.replace(projections, patient_position="")
    reconstruct(turned, dataclasses.replace(PLANES, z_mm=(0.0, 0.0)))
    assert "taken as head first, supine" in caplog.text


def test_planes_that_were_not_measured_are_left_out(projections, caplog) -> None:
    found = reconstruct(projections, dataclasses.replace(PLANES, every_mm=40.0, z_mm=(-40, 40)))
    assert found.array.shape[0] == 1 and "2 of 3 planes" in caplog.text
    with pytest.raises(UserError, match="not measured"):
        reconstruct(projections, dataclasses.replace(PLANES, z_mm=(300.0, 304.0)))


def test_a_dual_domain_run_is_given_the_projections(projections) -> None:
    region = region_of(ParallelBeam.for_image(48, 0.7, 120), 16)
    run = Run(LowDoseRegions(geometry=region), [])
    plane = dataclasses.replace(PLANES, z_mm=(0.0, 0.0))
    found = reconstruct(projections, plane, run=run)  # pyright: ignore[reportArgumentType]
    (given,) = run.given
    whole = run.task.whole(48)  # pyright: ignore[reportAttributeAccessIssue]
    assert given["sinogram"].shape == given["level"].shape == (120, whole.detectors)
    np.testing.assert_allclose(found.array[0], given["image"] + 100)
    # The longest way through the water body, in medjax's units of 0.02 /mm.
    assert given["sinogram"].max() == pytest.approx(160 * 0.02, rel=0.05)
    assert given["pixel_mm"] == 4.0 and (given["level"] > 0).any()


def test_a_run_of_images_is_given_images(projections) -> None:
    run = Run(LowDoseCT(), [])
    plane = dataclasses.replace(PLANES, z_mm=(0.0, 0.0))
    found = reconstruct(projections, plane, run=run)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found.array[0], run.given[0] + 100)


def test_what_cannot_be_done_is_said(projections) -> None:
    plane = dataclasses.replace(PLANES, z_mm=(0.0, 0.0))
    with pytest.raises(UserError, match="no CT slices"):
        reconstruct(projections, plane, run=Run(MRIMotion(), []))  # pyright: ignore
    with pytest.raises(UserError, match="water"):
        reconstruct(dataclasses.replace(projections, mu_water=None), plane)
    for wrong in ({"size": 4}, {"every_mm": 0.0}, {"pixel_mm": -1.0}, {"z_mm": (1.0, 0.0)}):
        with pytest.raises(UserError):
            dataclasses.replace(PLANES, **wrong)


def test_the_command_writes_a_volume_in_place(tmp_path, capsys) -> None:
    path = samples.trajectory(540, turn=180, feed=12.0)
    values = samples.line_integrals(samples.PHANTOM, SCANNER, path)
    samples.write(tmp_path / "raw", SCANNER, path, values)
    options = ["--size", "48", "--pixel-mm", "4", "--z", "0", "4", "--every-mm", "4"]
    out = tmp_path / "out.nii.gz"
    wanted = ["reconstruct", str(tmp_path / "raw"), str(out), *options, "--thickness-mm", "0"]
    assert cli.run(wanted) == 0
    assert "2 slices of 48 x 48, HU" in capsys.readouterr().out
    image = nib.load(out)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    index = np.linalg.solve(image.affine, [-30.0, 20.0, 4.0, 1.0])[:3].round().astype(int)
    assert image.get_fdata()[tuple(index)] == pytest.approx(300, abs=60)
    assert cli.run(wanted) == 2 and "exists already" in capsys.readouterr().err
    for words, said in (
        (["reconstruct", str(tmp_path / "no"), str(tmp_path / "a.nii")], "no such file"),
        (["reconstruct", str(tmp_path / "raw"), str(tmp_path / "a.png")], ".nii"),
        (["reconstruct", str(tmp_path), str(tmp_path / "a.nii")], "out.nii.gz"),
    ):
        assert cli.run(words) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "a.nii").exists()
