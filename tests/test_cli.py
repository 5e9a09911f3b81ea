"""The commands as a user types them: a tiny run from training to restored files, and bad input."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medjax import cli, experiment

TINY = """
import dataclasses
from medjax.experiment import Data, Keep, Schedule, find, load
from medjax.evaluate import Tiling
from medjax.methods.config import CGAN
from medjax.models.patchgan import PatchGANConfig
from medjax.models.unet import UNetConfig

base = load(find("quickstart"), "cpu")
cpu = dataclasses.replace(
    base,
    name="tiny",
    task=dataclasses.replace(base.task, views=90),
    network=UNetConfig(width=4, depth=1, convs_per_level=1, norm="none"),
    method=CGAN(discriminator=PatchGANConfig(width=4, layers=1)),
    data=Data(patch=32, batch=8),
    schedule=Schedule(steps=4),
    tiling=Tiling(size=128, overlap=16),
    keep=Keep(save_every=2, log_every=1),
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


OWN = """
@dataclasses.dataclass(frozen=True)
class Halved(LossConfig):
    factor: float = 0.5

    def build(self):
        return lambda restored, clean: self.factor * jnp.mean((restored - clean) ** 2)

cpu = dataclasses.replace(cpu, name="own", loss=Halved(), schedule=Schedule(steps=2, accumulate=2))
"""


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    """A run folder of four steps on the bundled slices, by the command line."""
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(home / "home"))
        patch.chdir(home)
        (home / "tiny.py").write_text(TINY)
        assert cli.run(["train", "tiny.py"]) == 0
    return home / "runs" / "tiny"


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Runs a command that must end in one line and exit code 2."""
    capsys.readouterr()
    assert cli.run(args) == 2
    said = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in said if line.startswith("medjax: ")]
    assert len(lines) == 1 and "Traceback" not in "".join(said)
    return lines[0]


def test_a_run_leaves_everything_behind(trained: Path) -> None:
    kept = json.loads((trained / "experiment.json").read_text())
    assert kept["experiment"]["schedule"]["steps"] == 4
    assert kept["versions"]["jax"] and kept["device"]["kind"]
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {p.name for p in (trained / "checkpoints").iterdir()} >= {"2", "4"}
    assert list((trained / "tensorboard").iterdir())
    seen = json.loads((trained / "seen.json").read_text())
    # The bundled head and abdomen.
    assert seen["modality"] == "CT" and 0.3 < seen["spacing"][0][0] < seen["spacing"][0][1] < 1
    results = json.loads((trained / "results.json").read_text())
    methods = {row["method"]: row["values"] for row in results["results"]["rows"]}
    assert {"low-dose FBP", "CLAHE", "median 3", "median 5", "TV", "NLM", "cGAN"} <= set(methods)
    for values in methods.values():
        assert all(values[key] is not None for key in ("psnr", "ssim", "rmse_hu", "noise_hu"))
    assert results["training"]["images_per_second"] > 0
    assert "not for diagnosis" in (trained / "report.html").read_text()


def test_a_finished_run_is_judged_again_and_another_is_refused(
    trained: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(home / "home"))
    before = json.loads((trained / "results.json").read_text())["results"]["rows"]
    assert cli.run(["evaluate", str(trained)]) == 0
    after = json.loads((trained / "results.json").read_text())["results"]["rows"]
    for a, b in zip(before, after, strict=True):
        a["values"].pop("seconds"), b["values"].pop("seconds")
        assert a["values"] == b["values"]
    line = refused(
        capsys, "train", str(home / "tiny.py"), "--run", str(trained), "--schedule.peak", "1e-3"
    )
    assert "schedule.peak" in line


def test_restoring_a_dicom_file(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(str(get_testdata_file("693_UNCR.dcm", download=False)))
    before = source.read_bytes()
    target = tmp_path / "restored.dcm"
    assert cli.run(["restore", str(trained), str(source), str(target)]) == 0
    assert "not for diagnosis" in capsys.readouterr().out
    old, new = pydicom.dcmread(source), pydicom.dcmread(target)
    assert source.read_bytes() == before
    assert new.ImageType[0] == "DERIVED"
    assert new.SOPInstanceUID != old.SOPInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.StudyInstanceUID == old.StudyInstanceUID and new.PatientID == old.PatientID
    assert "medjax" in new.SeriesDescription
    assert new.PixelSpacing == old.PixelSpacing
    assert new.ImagePositionPatient == old.ImagePositionPatient
    padding = old.pixel_array == old.PixelPaddingValue
    np.testing.assert_array_equal(new.pixel_array[padding], old.pixel_array[padding])
    change = (new.pixel_array - old.pixel_array.astype(float))[~padding]
    assert np.abs(np.median(change)) < 20
    assert "exists already" in refused(capsys, "restore", str(trained), str(source), str(target))


def test_restoring_a_nifti_volume_keeps_its_geometry(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).integers(-200, 200, (70, 150, 3)).astype(np.int16)
    affine = np.array([[-0.7, 0, 0, 10], [0, 0.1, 2.9, 20], [0, 0.7, -0.4, 30], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    args = ["restore", str(trained), str(tmp_path / "scan.nii.gz"), str(tmp_path / "out.nii.gz")]
    assert "--modality CT" in refused(capsys, *args)
    assert not (tmp_path / "out.nii.gz").exists()
    assert cli.run([*args, "--modality", "CT"]) == 0
    restored = nib.load(tmp_path / "out.nii.gz")
    assert restored.shape == values.shape
    np.testing.assert_allclose(restored.affine, affine, atol=1e-5)


def test_restoring_a_picture_through_its_window(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = np.random.default_rng(0).integers(90, 160, (40, 60)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "slice.png")
    args = ["restore", str(trained), str(tmp_path / "slice.png"), str(tmp_path / "out.png")]
    assert "--window LOW HIGH" in refused(capsys, *args)
    assert "larger" in refused(capsys, *args, "--window", "240", "-160")
    assert cli.run([*args, "--window", "-160", "240"]) == 0
    restored = np.asarray(Image.open(tmp_path / "out.png"))
    assert restored.shape == grey.shape and restored.dtype == np.uint8
    # Four steps of training leave the residual network near the identity.
    assert np.abs(restored.astype(int) - grey).mean() < 15


def test_a_series_becomes_one_new_series(trained: Path, tmp_path: Path, medjax_data: Path) -> None:
    source = medjax_data / "ct_chest_kernel_pairs" / "dicom_A0001_L"
    assert cli.run(["restore", str(trained), str(source), str(tmp_path / "out")]) == 0
    old = [pydicom.dcmread(p) for p in source.glob("*.dcm")]
    new = [pydicom.dcmread(p) for p in (tmp_path / "out").iterdir()]
    assert len(new) == len(old)
    assert len({d.SeriesInstanceUID for d in new}) == 1
    assert not {d.SeriesInstanceUID for d in new} & {d.SeriesInstanceUID for d in old}
    assert len({d.SOPInstanceUID for d in new} - {d.SOPInstanceUID for d in old}) == len(old)
    places = [sorted(tuple(d.ImagePositionPatient) for d in ds) for ds in (old, new)]
    assert places[0] == places[1]


def test_training_on_ones_own_scans(
    home: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("J2K_pixelrep_mismatch.dcm", "explicit_VR-UN.dcm", "693_UNCR.dcm"):
        shutil.copy(str(get_testdata_file(name, download=False)), scans / name)
    (scans / "notes.dcm").write_text("not a scan")
    assert cli.run(["data", "prepare", str(scans), "--name", "own"]) == 0
    said = capsys.readouterr()
    assert "notes.dcm" in said.err and "own" in said.out
    assert cli.run(["data", "list"]) == 0
    assert "own" in capsys.readouterr().out
    run = tmp_path / "run"
    tiny = str(home / "tiny.py")
    assert (
        cli.run(["train", tiny, "--data", "own", "--schedule.steps", "1", "--run", str(run)]) == 0
    )
    kept = json.loads((run / "experiment.json").read_text())
    assert kept["experiment"]["data"]["name"] == "own"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["brew"], "no such command"),
        (["train", "quikstart"], "did you mean quickstart"),
        (["train", "nowhere/x.py"], "no such experiment file"),
        (["train", "quickstart", "--task.dos", "1"], "did you mean --task.dose"),
        (["train", "quickstart", "--schedule.steps", "many"], "--schedule.steps"),
        (["train", "quickstart", "--setting", "huge"], "cpu, full"),
        (["train", "quickstart", "--data", "ct_sample"], "did you mean ct_samples"),
        (["train", "quickstart", "--schedule.steps", "0"], "--schedule.steps 0: must be 1"),
        (["train", "quickstart", "--data.batch", "-1"], "--data.batch -1: must be 1"),
        (["train", "quickstart", "--data.patch", "64", "0"], "--data.patch 64 0: must be 1"),
        (["train", "quickstart", "--keep.save-every", "0"], "--keep.save-every 0: must be 1"),
        (["train", "quickstart", "--network.width", "0"], "network: UNetConfig.width must be"),
        (["train", "quickstart", "--schedule.warmup", "9", "--schedule.steps", "9"], "warmup"),
        (["train", "quickstart", "--run", "file"], "file: is a file"),
        (["sweep", "quickstart", "--grid", "schedule.steps=4,0"], "--schedule.steps 0: must be 1"),
        (["evaluate"], "medjax: evaluate needs RUN;"),
        (["evalute", "runs/x"], "did you mean medjax evaluate"),
        (["data", "lst"], "did you mean medjax data list"),
        (["restore", "nowhere"], "medjax: restore needs INPUT OUTPUT;"),
        (["restore", "runs/x", "file", "file"], "file: exists already"),
        (["restore", "runs/x", "file", "file/out.dcm"], "is no folder"),
        (["restore", "runs/x", "file", "out.dcm", "--draws", "1"], "2 restorations or more"),
        (["restore", "runs/x", "file", "o.dcm", "--window", "1"], "--window 1: expected LOW HIGH"),
        (["weights", "fetch", "vgg16", "--layout", "x"], "medjax: invalid choice 'x'"),
        (["sweep", "quickstart", "--grid", "seed=1,2", "--run", "file"], "file: is a file"),
        (["evaluate", "file"], "file: is a file and no run folder"),
        (["evaluate", "bent"], "bent/experiment.json: a value in it"),
        (["evaluate", "nowhere"], "no run folder"),
        (["data", "prepare", "nowhere", "--name", "x"], "nowhere"),
        (["restore", "nowhere", "a.dcm", "b.dcm"], "a.dcm"),
    ],
)
def test_bad_arguments_end_in_one_line(
    args: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    (tmp_path / "bent").mkdir()
    wrong = {"kind": "medjax.experiment:Schedule", "steps": 1, "accumulate": "many"}
    (tmp_path / "bent" / "experiment.json").write_text(json.dumps({"experiment": wrong}))
    assert expected in refused(capsys, *args)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["text.dcm", "truncated.dcm", "empty", "mixed", "nan.nii.gz"])
def test_bad_scans_end_in_one_line_and_leave_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bad = tmp_path / name
    sample = Path(str(get_testdata_file("693_UNCR.dcm", download=False)))
    if name == "text.dcm":
        bad.write_text("these are words")
    elif name == "truncated.dcm":
        bad.write_bytes(sample.read_bytes()[:100_000])
    elif name == "nan.nii.gz":
        nib.save(nib.Nifti1Image(np.full((8, 8, 2), np.nan, np.float32), np.eye(4)), bad)
    else:
        bad.mkdir()
    if name == "mixed":
        shutil.copy(sample, bad)
        shutil.copy(str(get_testdata_file("CT_small.dcm", download=False)), bad)
    target = tmp_path / "out.nii.gz"
    line = refused(capsys, "restore", str(trained), str(bad), str(target), "--modality", "CT")
    assert name in line
    assert not target.exists()


def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where a folder must be")
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, "train", "quickstart", "--schedule.steps", "1")
    assert "home" in line and "check the path" in line


def test_ctrl_c_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("medjax.cli.experiments.run", interrupted)
    assert cli.run(["list"]) == 130
    assert capsys.readouterr().err == "medjax: stopped\n"


def test_the_list_says_what_the_experiments_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 79
    said = " ".join(" ".join(lines).split())
    for name, path in experiment.published().items():
        assert f"{name} {experiment.load(path, 'full').summary}" in said


def test_help_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    assert "medjax train quickstart" in capsys.readouterr().out
    for command in ("evaluate", "restore", "list", "data list", "data prepare"):
        with pytest.raises(SystemExit) as stop:
            cli.run([*command.split(), "--help"])
        assert stop.value.code == 0
        assert f"medjax {command}" in capsys.readouterr().out


def test_an_experiment_file_may_bring_a_loss_of_its_own(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(home / "home"))
    monkeypatch.chdir(home)
    imports = "import jax.numpy as jnp\nfrom medjax.losses.config import LossConfig\n"
    (home / "own.py").write_text(imports + TINY + OWN)
    assert cli.run(["train", "own.py"]) == 0
    assert "--experiment" in refused(capsys, "evaluate", "runs/own")
    results = home / "runs" / "own" / "results.json"
    results.unlink()
    assert cli.run(["evaluate", "runs/own", "--experiment", "own.py"]) == 0
    assert results.is_file()
    assert "did you mean --loss.factor" in refused(capsys, "train", "own.py", "--loss.facter", "1")
