"""What a network is not made for: it stays within 0.1 dB of its input, or the run says so.

The slow tests train quickstart's network for 500 steps and have it restore what it never saw.
`pytest tests/test_robustness.py -m slow -o log_cli=true --log-cli-level=INFO` printed PSNR before
and after, in dB, and what is said:

    quarter dose                      33.07  41.63
    twentieth of the dose             25.85  36.48
    abdomen, twentieth of the dose    18.58  25.78  more noise than trained
    full dose                         39.14  44.22  less noise than trained
    abdomen, full dose                33.98  35.29
    four times the dose               45.17  45.67  less noise than trained
    twenty times the dose             52.17  46.43  less noise than trained
    a hundred times the dose          59.16  46.67  less noise than trained
    rods                              32.58  36.32  untrained bright values
    abdomen, rods                     23.84  27.93  untrained bright values
    abdomen, rods, full dose          31.98  33.00  untrained bright values
    field of view cut off             28.72  32.98  untrained bright values (its rim)
    field of view cut off, full dose  35.19  35.61  untrained bright values
    coarse pixels                     44.44  44.62  outside the trained window (much air)
    fine pixels                       24.76  31.96
    chest, soft kernel, 25 % dose     37.70  40.58  untrained anatomy
    chest, soft kernel, full dose     44.02  43.04  untrained anatomy
    chest, sharp kernel, 25 % dose    37.34  33.80  untrained anatomy
    chest, sharp kernel, full dose    43.70  34.28  untrained anatomy

Not covered: more than the full dose of a slice that is itself noisy. The abdomen's own noise
(3.1 HU by `physics.noise_level`) counts as truth; after 1000 steps at twice the dose 37.08 dB
became 36.97, at three times 38.87 became 37.38, and nothing was said, for a head as noisy is one
that gains.
"""

import dataclasses
import functools
import logging
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from jaxtyping import Float32
from scipy import ndimage

from medjax import levels, run, seen
from medjax.data import catalog
from medjax.errors import UserError
from medjax.evaluate import Tiling
from medjax.experiment import Schedule, find, load
from medjax.io import read_scan
from medjax.physics.ct import ParallelBeam, fbp, hu_to_mu, low_dose, mu_to_hu, project
from medjax.remarks import remarks
from medjax.restore import restore_file
from medjax.scan import Scan
from medjax.seen import Seen
from medjax.tasks.ldct import LowDoseCT
from medjax.trained import Trained

_log = logging.getLogger(__name__)
Image = Float32[np.ndarray, "y x"]
ALLOWED_DB = -0.1
SIDE, VIEWS = 512, 720
# Cut out of the middle of each slice: one tile.
MIDDLE = (slice(128, 384),) * 2
STEPS = 500


class Case(NamedTuple):
    """A slice in HU as a scanner would see it, its pixel size and the dose."""

    image: Image
    pixel_mm: float
    dose: float
    # Share of the detector that sees the patient; the rest reads air.
    seen: float = 1.0


def framed(image: Image) -> Image:
    """Air around a smaller slice."""
    pad = [((SIDE - n) // 2, SIDE - n - (SIDE - n) // 2) for n in image.shape]
    return np.pad(image, pad, constant_values=-1000).astype(np.float32)


def with_rods(image: Image) -> Image:
    """Two rods of metal through the middle: black and white streaks from one to the other."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    metal = np.hypot(y - 0.45, x - 0.4) < 0.012
    metal |= np.hypot(y - 0.45, x - 0.6) < 0.012
    return np.where(metal, np.float32(8000), image)


@functools.cache
def scanner():
    geometry = ParallelBeam.for_image(SIDE, 1.0, VIEWS)
    model = LowDoseCT().model
    offset = geometry.ray_offsets_mm()
    reach = np.abs(offset) / np.abs(offset).max()

    @jax.jit
    def scan(key, hu, dose, pixel_mm, share):
        clean = project(geometry, hu_to_mu(hu[None, ..., None]), pixel_mm)
        noisy = low_dose(key, clean, dose, model, offset[:, None] * pixel_mm, "gaussian")
        both = jnp.concatenate([noisy, clean], -1) * (reach <= share)[:, None].astype(jnp.float32)
        return mu_to_hu(fbp(geometry, both, "hann", 1.0, pixel_mm))[0]

    return scan


def scanned(case: Case) -> tuple[Image, Image]:
    """The middle of the slice at the case's dose, and without noise."""
    numbers = (case.dose, case.pixel_mm, case.seen)
    both = scanner()(jax.random.key(11), jnp.asarray(case.image), *map(jnp.float32, numbers))
    both = np.asarray(both)[MIDDLE]
    return both[..., 0], both[..., 1]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Quickstart's cpu setting with fewer steps and without the ensemble."""
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    folder = tmp_path_factory.mktemp("robustness")
    experiment = dataclasses.replace(
        load(find("quickstart"), "cpu"),
        schedule=Schedule(steps=STEPS, peak=1.5e-3, end=1e-5),
        tiling=Tiling(size=256, batch=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(folder / "home"))
        assert run.train(experiment, folder / "run").step == STEPS
        seen.keep(folder / "run", experiment.data.name, *levels.trained_on(experiment))
        return run.open_run(folder / "run")


def slices() -> dict[str, tuple[Image, float]]:
    """Bundled slices that the network did not train on, and the abdomen that it did."""
    data = catalog.load("ct_samples")
    records = {"head": data.split("test")[0], "abdomen": data.split("train")[1]}
    return {k: (framed(r["image"]), float(r["spacing"][0])) for k, r in records.items()}


def zoomed(image: Image, factor: float) -> Image:
    part = image if factor < 1 else image[MIDDLE]
    return framed(np.asarray(ndimage.zoom(part, factor, order=1)))


def cases() -> dict[str, Case]:
    (head, head_mm), (abdomen, abdomen_mm) = slices().values()
    return {
        "quarter dose": Case(head, head_mm, 0.25),
        "twentieth of the dose": Case(head, head_mm, 0.05),
        "abdomen, twentieth of the dose": Case(abdomen, abdomen_mm, 0.05),
        "full dose": Case(head, head_mm, 1.0),
        "abdomen, full dose": Case(abdomen, abdomen_mm, 1.0),
        "four times the dose": Case(head, head_mm, 4.0),
        "twenty times the dose": Case(head, head_mm, 20.0),
        "a hundred times the dose": Case(head, head_mm, 100.0),
        "rods": Case(with_rods(head), head_mm, 0.25),
        "abdomen, rods": Case(with_rods(abdomen), abdomen_mm, 0.25),
        "abdomen, rods, full dose": Case(with_rods(abdomen), abdomen_mm, 1.0),
        "field of view cut off": Case(abdomen, abdomen_mm, 0.25, seen=0.4),
        "field of view cut off, full dose": Case(abdomen, abdomen_mm, 1.0, seen=0.4),
        "coarse pixels": Case(zoomed(head, 0.5), 2 * head_mm, 0.25),
        "fine pixels": Case(zoomed(abdomen, 2.0), abdomen_mm / 2, 0.25),
    }


def psnr(task: LowDoseCT, image: Image, reference: Image) -> float:
    low, high = task.window
    error = np.clip(image, low, high) - np.clip(reference, low, high)
    return float(10 * np.log10((high - low) ** 2 / np.mean(error**2)))


def judged(trained: Trained, name: str, case: Case) -> tuple[float, list[str]]:
    """By how much PSNR rises, in dB, and what the user is told."""
    task = trained.experiment.task
    assert isinstance(task, LowDoseCT)
    low, full = scanned(case)
    spacing = (case.pixel_mm, case.pixel_mm)
    told = remarks(Scan(low, "yx", spacing, None, "CT", "HU", Path("a")), task, trained.seen, None)
    before, after = (psnr(task, image, full) for image in (low, trained.restore(low)))
    short = [remark.short for remark in told]
    _log.info("%s %.2f to %.2f dB %s", name, before, after, "; ".join(short))
    return after - before, short


@pytest.mark.slow
def test_psnr_does_not_fall_or_the_run_says_so(quick: Trained) -> None:
    found = {name: judged(quick, name, case) for name, case in cases().items()}
    unsaid = {name: gain for name, (gain, told) in found.items() if gain < ALLOWED_DB and not told}
    assert not unsaid, found
    # What it was made for is worth the while and no cause for alarm.
    assert found["quarter dose"][0] > 3 and not found["quarter dose"][1], found
    assert found["twentieth of the dose"][0] > 3, found
    assert found["a hundred times the dose"][1] == ["less noise than trained"], found
    assert "untrained bright values" in found["rods"][1], found


@pytest.mark.slow
def test_another_anatomy(quick: Trained, medjax_data: Path) -> None:
    """A chest by two kernels, at a quarter and at full dose."""
    folder = medjax_data / "ct_chest_kernel_pairs"
    found = {}
    for kernel in ("B", "L"):
        chest = read_scan(folder / f"Lung_Dx-A0001_{kernel}.nii.gz", "CT")
        assert chest.spacing is not None
        middle = framed(chest.array[len(chest.array) // 2])
        for dose in (0.25, 1.0):
            case = Case(middle, chest.spacing[-1], dose)
            found[kernel, dose] = judged(quick, f"chest {kernel}, {dose:.0%} dose", case)
    assert not [gain for gain, told in found.values() if gain < ALLOWED_DB and not told], found


@pytest.mark.parametrize(
    ("deviation", "said"), [(0.5, "less noise"), (10.0, ""), (80.0, "more noise")]
)
def test_restore_says_it_on_the_screen_and_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, deviation: float, said: str
) -> None:
    noise = np.random.default_rng(0).normal(40, deviation, (64, 64, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([0.7, 0.7, 5.0, 1.0])), tmp_path / "in.nii.gz")
    known = Seen("CT", ((0.5, 0.9),) * 2, noise=(3 / 400, 30 / 400), far=(0.1, 0.0))
    with caplog.at_level(logging.WARNING):
        restore_file(
            lambda values: values,
            LowDoseCT(),
            tmp_path / "in.nii.gz",
            tmp_path / "out.nii.gz",
            description="d",
            modality="CT",
            seen=known,
        )
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == bool(said) and all(said in line for line in warned)


def test_mri_is_refused_as_ct(medjax_data: Path, tmp_path: Path) -> None:
    (file, *_) = sorted((medjax_data / "mri_volumes").glob("*t1*.nii.gz"))
    with pytest.raises(UserError, match="not HU as far as the file says"):
        restore_file(
            lambda values: values, LowDoseCT(), file, tmp_path / "out.nii.gz", description="d"
        )
