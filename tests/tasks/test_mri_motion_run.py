"""A whole run of the MRI motion task, by slices and by volumes: train, open, restore a file."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from medjax import run
from medjax.data import local_mri
from medjax.data.builder import DatasetInfo, write_dataset
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.io import read_scan
from medjax.methods.config import Regression
from medjax.models.unet import UNetConfig
from medjax.physics.mri import MotionModel
from medjax.restore import restore_file
from medjax.tasks.mri_motion import MRIMotion


def volume(subject: str, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    image = np.zeros((12, 16, 16), np.float32)
    image[2:10, 3:13, 3:13] = rng.uniform(200, 400, (8, 10, 10))
    names = {"case": subject, "subject": subject, "modality": "MR", "unit": "", "index": 0}
    return {"image": image, "spacing": np.full(3, 4.0, np.float32), **names}


@pytest.mark.parametrize(
    ("slicewise", "patch"),
    [(True, (1, 16, 16)), pytest.param(False, (8, 16, 8), marks=pytest.mark.slow)],
)
def test_from_training_to_a_restored_file(tmp_path, monkeypatch, slicewise, patch) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    info = DatasetInfo("heads", "1.0.0", "none", local_mri.INFO.source, "MR", "", dims=3)
    write_dataset(
        info,
        {"train": [lambda: [volume("a", 0), volume("b", 1)]], "test": [lambda: [volume("c", 2)]]},
    )
    experiment = Experiment(
        name="tiny",
        summary="",
        task=MRIMotion(motion=MotionModel(2, 3.0, 2.0), draws=2, slicewise=slicewise),
        network=UNetConfig(width=2, depth=1, norm="none"),
        method=Regression(),
        data=Data(name="heads", patch=patch, batch=2),
        schedule=Schedule(steps=2),
        tiling=Tiling(size=patch, overlap=0, batch=2),
        keep=Keep(save_every=2, log_every=1),
    )
    result = run.train(experiment, tmp_path / "run")
    assert result.step == 2
    trained = run.open_run(tmp_path / "run")
    assert trained.experiment == dataclasses.replace(experiment)
    results = run.evaluate(tmp_path / "run", trained)
    means = {row.method: row.values["mae_percent"] for row in results.rows}
    assert means["with motion"] > 1 and means["at rest (reference)"] == 0
    assert set(means) > {"median 3", "TV", "wavelet", "regression"}
    # The dataset's grid tells how its volumes lie, so the report can turn them upright.
    assert "axial" in (tmp_path / "run" / "report.html").read_text()
    source, target = tmp_path / "in.nii.gz", tmp_path / "out.nii.gz"
    image = volume("d", 3)["image"]
    nib.save(nib.Nifti1Image(image.T, np.diag([4.0, 4.0, 4.0, 1.0])), source)
    restore_file(trained.restore, experiment.task, source, target, description="restored")
    restored = read_scan(target).array
    # Two steps from the identity: the values come back in the scale of the file.
    assert restored.shape == image.shape
    assert np.abs(restored - image).mean() < 0.05 * image.mean()
    assert not np.array_equal(restored, image)
