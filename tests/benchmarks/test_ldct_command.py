"""The command on a small made chest; nothing here says how good a method is."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from benchmarks.ldct import arguments, claims, peers, suite
from benchmarks.ldct.__main__ import main
from benchmarks.ldct.chest import FILE, FOLDER, Chest, chosen, scanned, set_up
from benchmarks.ldct.clinical import COLUMNS
from benchmarks.ldct.rows import QUALITY, judge
from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import Network, folder_of, planned
from medjax.errors import UserError
from medjax.losses.config import L1
from medjax.models.redcnn import REDCNNConfig
from medjax.physics.ct import DoseModel, ParallelBeam
from medjax.tasks.ldct import LowDoseCT
from medjax.train.writers import read_metrics

SIZE, VIEWS, PHOTONS = 144, 90, 2e5


def chest(slices=8):
    """A round body of soft tissue with one lung and the vessels of each slice; 1 mm pixels."""
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    body = np.hypot(y, x) < 68
    lung = np.hypot(y / 46, (x - 32) / 27) < 1
    volume = []
    for z in range(slices):
        rng = np.random.default_rng(z)
        vessels = np.zeros((SIZE, SIZE))
        for turn, off in zip(rng.uniform(0, np.pi, 6), rng.uniform(-30, 30, 6), strict=True):
            across = y * np.cos(turn) + (x - 32) * np.sin(turn) - off
            vessels = np.maximum(vessels, 500 * np.exp(-(across**2) / 2))
        volume.append(np.where(lung, -860 + vessels, np.where(body, 40.0, -1000.0)))
    return Chest(np.asarray(volume, np.float32), (5.0, 1.0, 1.0))


TASK = LowDoseCT(views=VIEWS, model=DoseModel(photons=PHOTONS, bowtie=None))


@pytest.fixture(scope="module")
def stage():
    made = chest()
    return set_up(made, TASK, chosen(made, None), 2)


@pytest.fixture(scope="module")
def quarter(stage):
    return scanned(stage, 0.25)


def row(stage, scene, name, restore=None, kind="network", seed=0):
    """A row as a network under a seed would have it."""
    restore = restore or (lambda given: given.case.degraded)
    return judge(suite.Contender(name, kind, seed, restore), scene, stage)


@pytest.fixture(scope="module")
def low(stage, quarter):
    return judge(suite.untouched("low-dose FBP", "degraded"), quarter, stage)


@pytest.fixture(scope="module")
def full(stage):
    return judge(suite.untouched("full-dose FBP", "reference"), scanned(stage, 1.0), stage)


def test_slices_of_the_detector_are_not_judged():
    made = chest()
    assert min(chosen(made, None)) > made.learnt
    with pytest.raises(UserError, match="--slices 1: give slices 6 to 7"):
        chosen(made, [1])


def test_both_versions_have_the_same_noise_and_their_own_rays(stage, quarter):
    for probe, marked, plain, clean in zip(
        stage.probes, quarter.marked, quarter.plain, stage.references, strict=True
    ):
        noise = plain.case.degraded - clean
        assert plain.case.noise_std == pytest.approx(noise[clean > -500].std())
        far = ndimage.maximum_filter(np.abs(probe.marked - probe.plain), 15) < 1
        assert (marked.case.degraded - plain.case.degraded)[far].std() < 0.5 * noise[far].std()
        geometry = ParallelBeam.for_image(SIZE, 1.0, VIEWS)
        assert plain.rays["sinogram"].shape == (VIEWS, geometry.detectors)
        assert (marked.rays["sinogram"] != plain.rays["sinogram"]).any()


def test_what_rays_are_said_to_vary_is_what_they_vary(stage):
    """The level that a network is told, against the spread of two scans of the same slice."""
    one, other = (scanned(stage, 0.25).plain[i].rays for i in (0, 1))
    spread = (one["sinogram"] - other["sinogram"]) / np.hypot(one["level"], other["level"])
    assert spread.std() == pytest.approx(1.0, rel=0.05)


def test_seconds_and_all_columns_are_measured(low, full):
    for judged in (low, full):
        for value in judged.values:
            assert {c.key for c in QUALITY} | {"seconds"} <= set(value.values)
    mean = [np.mean([v.values["psnr"] for v in judged.values]) for judged in (low, full)]
    assert mean[1] > mean[0] + 3


def claim(sentences, text):
    return next(sentence for sentence in sentences if text in sentence)


def test_claims_of_a_perfect_network_hold(stage, quarter, low, full):
    better = scanned(stage, 1.0)
    pairs = zip(quarter.marked + quarter.plain, better.marked + better.plain, strict=True)
    perfect = {id(given): full_dose.case.degraded for given, full_dose in pairs}

    def restore(given):
        return perfect[id(given)]

    ours = row(stage, quarter, suite.DDANET, restore)
    others = [row(stage, quarter, name) for name in (suite.TWIN, peers.REDCNN, peers.SAME_SIZE)]
    found = claims.settled([low, full, ours, *others], low, full)
    psnr = (
        f"minus {suite.TWIN}, PSNR",
        "(PyTorch) at equal training time",
        "our size and rates at",
    )
    for text in ("MTF50 low", "MTF50 high", "d' 100.0% of", "nodule sensitivity", *psnr):
        sentence = claim(found, text)
        assert "HOLDS" in sentence and "DOES NOT" not in sentence, sentence
    # The input of this chest is quieter than the claim's, and that is said.
    assert claim(found, ", noise").endswith(claims.OTHER_INPUT)


def test_claims_of_a_blur_fail(stage, quarter, low, full):
    def blur(given):
        return ndimage.gaussian_filter(given.case.degraded, 3.0)

    ours = row(stage, quarter, suite.DDANET + suite.ALONE, blur)
    found = claims.settled([low, full, ours], low, full)
    assert "at most 12 HU: HOLDS" in claim(found, ", noise")
    for text in ("MTF50 low", "MTF50 high", "nodule sensitivity"):
        assert "DOES NOT HOLD" in claim(found, text)
    assert not any("PSNR" in sentence for sentence in found)


def network(entry, seen):
    """A network that keeps what it is given."""
    experiment = planned(entry, "cpu", 0, None)

    def restore(given):
        seen.append(given)
        return given["image"] if isinstance(given, dict) else given

    return Network(entry, 0, experiment, restore, {})


def test_projections_go_to_the_network_whose_scanner_it_is(quarter):
    seen = []
    ddanet = network(next(e for e in suite.ENTRIES if e.name == suite.DDANET), seen)
    coarse = suite.with_images_alone([ddanet], SIZE, VIEWS)
    assert [n.entry.name for n in coarse] == [suite.DDANET + suite.ALONE]
    geometry = ParallelBeam.for_image(SIZE, 0.7, VIEWS)
    task = dataclasses.replace(ddanet.experiment.task, geometry=geometry)
    ours = ddanet._replace(experiment=dataclasses.replace(ddanet.experiment, task=task))
    both = suite.network_rows(suite.with_images_alone([ours], SIZE, VIEWS))
    assert [c.name for c in both] == [suite.DDANET, suite.DDANET + suite.ALONE]
    for contender in both:
        contender.restore(quarter.plain[0])
    assert seen[0]["sinogram"].shape == (VIEWS, geometry.detectors)
    assert (seen[1] == quarter.plain[0].case.degraded).all()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """MEDJAX_DATA with the made chest as the real one."""
    volume, spacing = chest()
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0]))
    nibabel.save(image, folder / FILE)
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_command_trains_measures_prints_and_keeps(data, monkeypatch, capsys):
    entry = Entry("RED-CNN", "ldct_redcnn")
    first = planned(entry, "cpu", 0, None)
    small = {
        "network": REDCNNConfig(width=2),
        "loss": L1(),
        "keep": dataclasses.replace(first.keep, log_every=1),
        "data": dataclasses.replace(first.data, patch=32, batch=2),
        "tiling": dataclasses.replace(first.tiling, ensemble=False, size=144),
    }
    tiny = dataclasses.replace(entry, change=small)
    monkeypatch.setattr(arguments, "ENTRIES", (tiny,))
    beside = [
        dataclasses.replace(peer, entry=dataclasses.replace(peer.entry, change=change))
        for peer, change in zip(peers.PEERS[1:], (small, {"data": small["data"]}), strict=True)
    ]
    monkeypatch.setattr(arguments, "PEERS", beside)
    out = data / "found.json"
    told = [
        *("--doses", "0.25", "--seeds", "0", "--steps", "2", "--networks", "RED-CNN"),
        *("--filters", "median 3", "--views", str(VIEWS), "--photons", str(PHOTONS)),
        *("--slices", "7", "--runs", str(data / "runs"), "--out", str(out)),
    ]
    assert main(told) == 0
    printed = capsys.readouterr()
    said = " ".join(printed.out.split())
    assert "One chest patient" in said
    assert "RED-CNN" in printed.err
    (dose,) = json.loads(out.read_text())["doses"]
    names = [peer.entry.name for peer in beside]
    for name in names:
        if peers.installed():
            assert f"{name}, seed 0: " in said and "making the pairs" in said
        else:
            assert f"not installed (torch), left out: {'; '.join(names)}" in said
    assert [r["row"] for r in dose["rows"]] == [
        "low-dose FBP",
        "full-dose FBP",
        "median 3",
        "RED-CNN",
        *(names if peers.installed() else ()),
    ]
    assert {c["key"] for c in dose["clinical"]["columns"]} == {c.key for c in COLUMNS}
    assert dose["rows"][0]["minus_low_dose"] is None
    assert set(dose["rows"][3]["minus_low_dose"]) == {"dprime", "sensitivity"}
    assert str(data) not in out.read_text()

    # An untrained RED-CNN returns its input, so its first loss is that of the first pair.
    trained_on = read_metrics(folder_of(tiny, 0, data / "runs" / "cpu"))
    noisy, clean = next(peers.pairs(planned(tiny, "cpu", 0, None)))
    assert noisy.shape == clean.shape == (2, 1, 32, 32)
    assert trained_on[0].metrics["loss"] == pytest.approx(np.abs(noisy - clean).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--doses", "2"], "no fraction of the full dose"),
        (["--doses", "quarter"], "no number"),
        (["--repeats", "3"], "must be even"),
        (["--networks", "GAN"], "none of"),
        (["--filters", "magic"], "none of"),
        (["--peers", "RED-CNN (Keras)"], "none of"),
        (["--seeds", "0,0"], "twice"),
        (["--photons", "0"], "above 0"),
        (["--window", "100", "0"], "must rise"),
        (["--slices", "0"], "the detector's"),
        (["--out", "."], "is a folder"),
        (["--unknown"], "unrecognized"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(data, capsys, wrong, said):
    assert main(wrong) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_a_missing_scan_is_told_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path))
    assert main(["--networks", "none"]) == 2
    told = capsys.readouterr().err
    assert FOLDER in told and "MEDJAX_DATA" in told and told.count("\n") == 1
