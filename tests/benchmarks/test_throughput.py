"""The throughput command on a tiny shape, what it says to wrong arguments, and its parts."""

import json
import multiprocessing
import re
import sys

import pytest

from benchmarks.throughput import __main__ as command
from benchmarks.throughput import measure, show, together
from benchmarks.throughput.arguments import parsed
from benchmarks.throughput.inputs import delivery
from benchmarks.throughput.peaks import Peak, published
from benchmarks.throughput.suite import BY_NAME, work
from medjax.errors import UserError


def test_the_command_measures_a_row_and_writes_it(tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(command, "peak", lambda device, dtype: Peak(1e12, "said so"))
    words = f"x --models cnn10 --shape 12,12 --batch 2 --rounds 2 --torch none --out {out}"
    monkeypatch.setattr(sys, "argv", words.split())
    assert command.main() == 0
    printed = capsys.readouterr()
    assert "cnn10" in printed.out and f"wrote {out}" in printed.out and "rounds" in printed.err
    found = json.loads(out.read_text())
    assert found["machine"]["peaks"]["float32"] == {"flops_per_second": 1e12, "source": "said so"}
    (row,) = found["rows"]
    assert row["degraded_shape"] == [2, 12, 12, 2] and row["images_per_batch"] == 2
    training = row["training"]
    assert len(training["seconds"]) == 2 and training["median_seconds"] > 0
    assert training["images_per_second"] == pytest.approx(2 / training["median_seconds"])
    assert training["voxels_per_second"] == pytest.approx(288 / training["median_seconds"])
    per_second = row["operations"]["model_training"] / training["median_seconds"]
    assert training["mfu"] == pytest.approx(per_second / 1e12)
    assert row["operations"]["agree"] and row["memory_bytes"]["temporary"] > 0
    assert row["input"]["fraction_of_step"] > 0 and row["input"]["dataset"] == "ct_samples"
    assert row["torch"]["training"] is None


@pytest.mark.slow
def test_rows_that_compile_together_are_timed_and_those_that_fail_are_told():
    jobs = [
        together.Job(name, "cpu", "float32", (12, 12), 2, Peak(1e12, "said so"), 2, "none", None)
        for name in ("cnn10", "unet-3d")
    ]
    failed, row = together.in_groups(jobs, processes=2, limit=300)
    assert isinstance(failed, together.Failed) and failed.row == "unet-3d"
    assert "has 2 axes, unet-3d has 3" in failed.reason
    assert isinstance(row, dict) and len(row["training"]["seconds"]) == 2


def test_a_process_that_ends_without_a_word_is_told():
    ours, theirs = multiprocessing.Pipe()
    assert together._said(ours, 0.0) == ""
    theirs.close()
    assert "ended without a word" in together._said(ours, 1.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--models cnn11", "cnn11 is none of"),
        ("--dtype float16", "float16 is none of float32, bfloat16"),
        ("--shape 12,x", "no number"),
        ("--rounds 0", "must be 1 or more"),
        ("--models cnn10 --methods WGAN", "no row is left"),
    ],
)
def test_wrong_arguments_get_one_line(words, said):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        parsed("", words.split())
    assert "\n" not in str(caught.value)


def test_a_shape_must_fit_the_row():
    with pytest.raises(UserError, match=r"--shape: 16x16 has 2 axes, unet-3d has 3"):
        work(BY_NAME["unet-3d"], "cpu", shape=(16, 16))
    with pytest.raises(UserError, match="unet-2d-cgan at 4x4"):
        work(BY_NAME["unet-2d-cgan"], "cpu", shape=(4, 4))
    with pytest.raises(
        UserError, match=r"ddanet at 32x32: the virtual scanner takes images of 64 x 64"
    ):
        work(BY_NAME["ddanet"], "cpu", shape=(32, 32))


def test_every_part_of_a_network_computes_in_the_type():
    found = work(BY_NAME["ddanet"], "cpu", "bfloat16").experiment.network
    assert (found.sinogram.dtype, found.image.dtype) == ("bfloat16", "bfloat16")
    method = work(BY_NAME["unet-2d-cgan"], "cpu", "bfloat16").experiment.method
    assert method.discriminator.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("kind", "dtype", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 80GB HBM3", "float32", 494.7),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312.0),
        ("TPU v5 lite", "bfloat16", 197.0),
        ("TPU v5", "bfloat16", 459.0),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16", None),
        ("cpu", "float32", None),
    ],
)
def test_peaks_are_of_whole_known_devices(kind, dtype, tera):
    found = published(kind, dtype)
    assert found is None if tera is None else found is not None and found.flops == tera * 1e12


def test_rounds_are_interleaved_and_ratios_are_by_round():
    order = []

    def contender(name, seconds):
        left = iter(seconds)

        def call(times):
            order.append(name)
            return next(left)

        return call

    calls = {
        "medjax": contender("medjax", [9, 1, 1.0, 2.0, 4.0]),
        "eager": contender("eager", [9, 1, 3.0, 4.0, 8.0]),
        "slow": contender("slow", [9, 1, 30.0, 30.0, 30.0]),
    }
    times = measure.interleaved(calls, 3)
    assert order[6:] == ["medjax", "eager", "slow"] * 3
    found = measure.ratio(times)
    # 3 / 1, 4 / 2, 8 / 4; of the medians it would be 4 / 2 as well, of the means 15 / 7.
    assert found == {"best": "eager", "torch_over_ours": 2.0, "quartiles": [2.0, 2.5]}
    assert measure.ratio({"medjax": [1.0]}) is None


def test_what_is_wrong_or_slower_is_said():
    slower = {"best": "eager", "torch_over_ours": 0.5, "quartiles": [0.4, 0.6]}
    row = {
        "row": "unet",
        "dtype": "float32",
        "operations": {"agree": False, "disagreement": 0.2, "uncounted": {"while": 2}},
        "torch": {
            "left_out": [{"name": "compiled", "reason": "no compiler"}],
            "training": slower,
            "inference": None,
        },
        "input": {"missing": "no scans"},
        "quality": {"missing": "it generates"},
    }
    said = "\n".join(show.notes([row]))
    for part in ("20.0% other operations", "while", "no compiler", "no scans", "generates"):
        assert part in said
    assert "training: PyTorch (eager) takes 0.50 of our time" in said


def test_scans_that_are_not_there_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path))
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    assert "MEDJAX_DATA" in delivery(work(BY_NAME["unet-3d"], "cpu"))["missing"]
