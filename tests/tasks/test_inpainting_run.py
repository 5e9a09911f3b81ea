"""A whole run that fills volumes slice by slice: what it was told reaches a 2-D network."""

import numpy as np

from medjax import run
from medjax.data.builder import DatasetInfo, write_dataset
from medjax.evaluate import Tiling
from medjax.experiment import Data, Experiment, Keep, Schedule
from medjax.methods.config import Regression
from medjax.models.masked import MaskedConfig
from medjax.models.unet import UNetConfig
from medjax.physics.missing import Gaps, is_missing
from medjax.tasks.inpainting import VolumeInpainting

SHAPE = (12, 16, 16)


def volume(subject: str, top: float) -> dict:
    """Rises with z alone, so that only other slices tell what a lost one held."""
    image = np.broadcast_to(np.linspace(100, top, SHAPE[0])[:, None, None], SHAPE)
    names = {"case": subject, "subject": subject, "modality": "MR", "unit": "", "index": 0}
    return {"image": image.astype(np.float32), "spacing": np.full(3, 2.0, np.float32), **names}


def test_slice_by_slice_a_run_fills_from_the_slices_beside(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    write_dataset(
        DatasetInfo("rising", "1.0.0", "none", "", "MR", "", dims=3),
        {"train": [lambda: [volume("a", 400)]], "test": [lambda: [volume("b", 300)]]},
    )
    experiment = Experiment(
        name="tiny",
        summary="",
        task=VolumeInpainting(gaps=Gaps(lines=0.0, blocks=0.0, slices=0.3), slicewise=True),
        network=MaskedConfig(UNetConfig(width=2, depth=1, norm="none")),
        method=Regression(),
        data=Data(name="rising", patch=SHAPE, batch=2),
        # Too slow to leave the identity: what is restored is the first guess.
        schedule=Schedule(steps=2, peak=1e-12, end=0.0),
        tiling=Tiling(size=SHAPE, overlap=0, batch=1),
        keep=Keep(save_every=2, log_every=1),
    )
    assert run.train(experiment, tmp_path / "run").step == 2
    trained = run.open_run(tmp_path / "run")
    assert trained.experiment == experiment
    case = experiment.task.simulate(volume("c", 500), 1)
    missing = is_missing(case.degraded)
    restored = trained.restore(case.network_input)
    np.testing.assert_array_equal(restored[~missing], case.degraded[~missing])
    known = np.flatnonzero(~missing.all(axis=(1, 2)))
    between = slice(known[0], known[-1])
    assert missing[between].any()
    np.testing.assert_allclose(restored[between], case.reference[between], atol=1e-5)
