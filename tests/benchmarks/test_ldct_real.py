"""The comparison of two kernels, on made slices whose noise and edges are known."""

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from benchmarks.ldct_real.__main__ import main
from benchmarks.ldct_real.measures import COLUMNS, measure
from benchmarks.ldct_real.scans import Pair
from medjax.data.local_ct import FOLDER, SHARP, SOFT
from medjax.metrics.ct import flat_tissue_mask

SIZE, SIGMA, BLUR = 128, 20.0, 1.5


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """Bodies with a lung each."""
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    lungs = [np.hypot(y, x - 22 - z) < 24 for z in range(2)]
    return np.stack(
        [np.where(lung, -850.0, np.where(np.hypot(y, x) < 60, 40.0, -1000.0)) for lung in lungs]
    )


@pytest.fixture(scope="module")
def pair(clean) -> Pair:
    rng = np.random.default_rng(0)
    fine = ndimage.gaussian_filter(clean, (0, 0.6, 0.6))
    soft = ndimage.gaussian_filter(clean, (0, BLUR, BLUR)) + rng.normal(0, 3, clean.shape)
    sharp = fine + rng.normal(0, SIGMA, clean.shape)
    return Pair(sharp.astype(np.float32), soft, flat_tissue_mask(soft), [16, 17], (5.0, 1.0, 1.0))


def test_known_noise_and_edges_are_found(pair, clean) -> None:
    found = measure(pair.sharp, pair)
    assert found["noise_hu"] == pytest.approx(SIGMA, rel=0.05)
    # Nothing was removed.
    assert np.isnan(found["removed_at_edges"]) and np.isnan(found["removed_structure"])
    soft = measure(pair.soft, pair)
    # A Gaussian's 10-90 % rise is 2.563 times its standard deviation.
    assert soft["edge_mm"] == pytest.approx(2.563 * BLUR, rel=0.1)
    assert found["edge_mm"] < 0.75 * soft["edge_mm"] and found["mtf50"] > soft["mtf50"]
    assert {*found, "seconds"} == {c.key for c in COLUMNS}


def test_noise_removed_alone_is_told_from_edges_removed(pair, clean) -> None:
    perfect = measure(ndimage.gaussian_filter(clean, (0, 0.6, 0.6)), pair)
    assert perfect["removed_at_edges"] == pytest.approx(1, abs=0.1)
    assert abs(perfect["removed_structure"]) < 0.1
    blurred = measure(ndimage.gaussian_filter(pair.sharp, (0, 2, 2)), pair)
    assert blurred["removed_at_edges"] > 3 and blurred["removed_structure"] > 0.7
    shifted = measure(pair.sharp + np.float32(5), pair)
    assert shifted["bias_hu"] == pytest.approx(5, abs=0.01)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """MEDJAX_DATA with a made scan by two kernels."""
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)
    y, x = np.indices((96, 96)) - 47.5
    body = np.where(np.hypot(y, x) < 44, 40.0, -1000.0)
    rng = np.random.default_rng(1)
    for name, sigma in ((SHARP, 30.0), (SOFT, 5.0)):
        noisy = np.round(body + rng.normal(0, sigma, (30, 96, 96))).astype(np.int16)
        image = nibabel.Nifti1Image(noisy.transpose(2, 1, 0), np.diag([1.0, 1.0, 5.0, 1.0]))
        nibabel.save(image, folder / name)
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    return folder


ALONE = ("--networks", "none")


def test_the_command_measures_prints_and_keeps(data, tmp_path, capsys) -> None:
    out = tmp_path / "out.json"
    words = [*ALONE, "--filters", "median 3,median 5", "--slices", "16,20", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "sharp kernel" in said and f"wrote {out}" in said.replace("\n", "")
    kept = json.loads(out.read_text())
    assert kept["slices"] == [16, 20]
    noise = {row["method"]: row["values"]["noise_hu"] for row in kept["results"]["rows"]}
    assert noise["sharp kernel (input)"] == pytest.approx(30, rel=0.1)
    assert noise["soft kernel (scanner)"] == pytest.approx(5, rel=0.1)
    assert noise["median 5"] < noise["median 3"] < 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*ALONE, "--slices", "3"), "--slices 3: give slices 16 to 29"),
        ((*ALONE, "--slices", "x"), "x is no number"),
        ((*ALONE, "--filters", "mediam"), "mediam is none of"),
        ((*ALONE, "--run", "runs/mine"), "runs/mine must be NAME=FOLDER"),
        ((*ALONE, "--run", "mine=nowhere"), "nowhere: is no run folder"),
        ((*ALONE, "--steps", "0"), "0 must be 1 or more"),
        (("--setting", "gpu"), "--help lists all arguments"),
    ],
)
def test_bad_arguments_end_in_one_line(data, capsys, words, said) -> None:
    assert main(["--filters", "none", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_without_the_scan_it_says_so(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path))
    assert main([*ALONE, "--filters", "none"]) == 2
    assert "MEDJAX_DATA" in capsys.readouterr().err
