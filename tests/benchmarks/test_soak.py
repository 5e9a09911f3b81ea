"""The soak's own parts: a phase told from a folder, checks that catch a broken promise, a tally."""

import dataclasses
import json
import random
import signal

import numpy as np
import orbax.checkpoint as ocp
import pytest

from benchmarks.soak import faults
from benchmarks.soak.__main__ import main
from benchmarks.soak.look import Look, look, phase
from benchmarks.soak.promises import (
    Final,
    arrays_digest,
    broken_end,
    broken_full,
    broken_resume,
    broken_words,
    naming_line,
)
from benchmarks.soak.state import Ending, Strike
from benchmarks.soak.tally import broken, tally

BEFORE = Look(writer=1, row=14, saved=(10,), unfinished=frozenset({("20.tmp", 5)}))


@pytest.mark.parametrize(
    ("changes", "resumed", "expected"),
    [
        ({}, None, "start-up"),
        ({"writer": 2, "row": 10}, 10, "compile"),
        ({"writer": 2, "row": 12}, 10, "steps"),
        # What an earlier session left unfinished is no save of this one.
        ({"writer": 2, "row": 20}, 10, "steps"),
        ({"writer": 2, "row": 20, "unfinished": frozenset({("20.tmp", 9)})}, 10, "save"),
        ({"writer": 2, "row": 60, "saved": (50, 60)}, 10, "evaluation"),
    ],
)
def test_the_phase_is_told_from_the_folder(changes, resumed, expected) -> None:
    assert phase(BEFORE, dataclasses.replace(BEFORE, **changes), resumed, 60) == expected


def test_a_folder_is_looked_at(tmp_path) -> None:
    assert look(tmp_path / "none") == Look()
    for name in ("10", "20", "30.orbax-checkpoint-tmp", "broken-5"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    rows = [json.dumps({"step": step, "metrics": {}, "seconds": 0.0}) for step in (28, 29)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 3')
    found = look(tmp_path)
    assert (found.row, found.saved, found.newest, found.judged) == (29, (10, 20), 20, False)
    assert [name for name, _ in found.unfinished] == ["30.orbax-checkpoint-tmp"]


def test_more_lost_than_one_save_is_caught() -> None:
    def check(at, saved, resumed, spoilt=0):
        return broken_resume(at=at, saved=saved, resumed=resumed, save_every=10, spoilt=spoilt)

    assert check(29, (10, 20), 20) == check(23, (10,), 10) == check(9, (), 0) == []
    assert "newest checkpoint was of step 10" in check(31, (10,), 10)[0]
    # The metrics of step 20 are there before its save waits for that of step 10.
    assert check(20, (), 0) == []
    assert "newest checkpoint was of step 0" in check(21, (), 0)[0]
    assert "went on from step 10, not from 20" in check(29, (10, 20), 10)[0]
    assert check(29, (10, 20), 10, spoilt=1) == []
    assert "went on from step 0" in check(29, (10, 20), 0, spoilt=1)[0]


def test_a_full_disk_takes_no_checkpoint_and_ends_the_run_soon() -> None:
    def check(filled, at, before, saved):
        return broken_full(filled=filled, at=at, before=before, saved=saved, save_every=10)

    assert check(15, 17, (10,), (10,)) == check(15, 20, (), (10,)) == check(9, 20, (), ()) == []
    assert check(15, 30, (10,), (10,)) == check(20, 40, (10,), (10, 20)) == []
    assert "went on to step 31" in check(15, 31, (10,), (10,))[0]
    assert "went on to step 21" in check(9, 21, (), ())[0]
    assert "step 20 was finished, and is gone" in check(25, 27, (10, 20), (10,))[0]
    assert "step 10 was finished, and is gone" in check(15, 17, (10,), ())[0]


def test_another_end_is_caught() -> None:
    reference = Final(60, "a", ((1, {"loss": 1.0}), (2, {"loss": 0.5})))
    assert broken_end(reference, reference) == []
    changed = dataclasses.replace(reference, digest="b", rows=((1, {"loss": 1.0}),))
    assert broken_end(changed, reference) == [
        "the final state is not bit-identical to the uninterrupted run's",
        "metrics.jsonl differs from the uninterrupted run's: 1 of 2 rows",
    ]
    other = dataclasses.replace(reference, step=50, rows=((1, {"loss": 1.0}), (2, {"loss": 0.6})))
    assert [line[:12] for line in broken_end(other, reference)] == ["ended at ste", "metrics.json"]


def test_wrong_codes_tracebacks_and_silence_are_caught() -> None:
    good = "step 3/60\nmedjax: step 4: loss is nan; last good checkpoint: a/10\n"
    pattern = r"^medjax: step \d+: loss is nan"
    assert broken_words(good, code=2, expected=(2,), pattern=pattern) == []
    assert naming_line(good, pattern).startswith("medjax: step 4")
    assert "exit code 1" in broken_words(good, code=1, expected=(2,), pattern=pattern)[0]
    assert broken_words("Traceback (most\n", code=1, expected=(2,), pattern=pattern) == [
        "exit code 1, documented is 2",
        "a traceback was shown",
        rf"not one line that names it ({pattern})",
    ]
    twice = broken_words(good * 2, code=2, expected=(2,), pattern=pattern)
    assert len(twice) == 2 and "2 lines that begin" in twice[1]


def test_the_digest_is_of_the_arrays(tmp_path) -> None:
    state = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.int32(3)}
    with ocp.StandardCheckpointer() as writer:
        for name, a in (("one", state["a"]), ("two", state["a"]), ("other", state["a"] + 1)):
            writer.save(tmp_path / name, {**state, "a": a})
    digests = [arrays_digest(tmp_path / name) for name in ("one", "two", "other")]
    assert digests[0] == digests[1] != digests[2]


def test_flips_change_as_many_bytes_as_said(tmp_path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    places = faults.flip(file, random.Random(0))
    changed = [i for i, value in enumerate(file.read_bytes()) if value]
    assert changed == places and len(places) == 3


def test_kills_aim_at_every_phase_and_are_the_same_for_a_seed() -> None:
    moments = faults.moments(50, 0)
    assert moments == faults.moments(50, 0) != faults.moments(50, 1)
    assert {target for target, _ in moments} == {
        *("start-up", "compile", "steps", "save", "evaluation")
    }


def strike(run: str, **changes) -> Strike:
    kill = Strike("kill -9", run, "", "steps", -signal.SIGKILL, "", 12, 2)
    return dataclasses.replace(kill, **changes)


def test_the_tally_counts_and_names_what_broke() -> None:
    strikes = [strike("a"), strike("a", phase="save", lost=9), strike("b", lost=None)]
    strikes.append(strike("c", fault="disk full", line="medjax: full", broken=["exit code 1"]))
    endings = [Ending("kill -9", "a", []), Ending("disk full", "c", ["not bit-identical"])]
    kills, full = tally(strikes, endings)
    assert (kills.times, kills.recovered, kills.lost) == (3, 2, 9)
    assert (kills.identical, kills.runs, kills.phases) == (1, 2, {"steps": 2, "save": 1})
    assert (full.recovered, full.line) == (0, "medjax: full")
    assert broken(strikes, endings) == [
        "disk full, c, steps: exit code 1",
        "disk full, c, at its end: not bit-identical",
        "kill -9, b: never came to its end",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--kills", "0"], "must be 1 or more"),
        (["--steps", "20"], "give 50 or more"),
        (["--no-such-flag"], "unrecognized"),
        (["--out", "."], "is a folder"),
        (["--keep", "/"], "is not empty"),
    ],
)
def test_a_wrong_argument_is_one_line(capsys, wrong, said) -> None:
    assert main(wrong) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and said in told.err and not told.out


@pytest.mark.slow
def test_a_real_run_survives(tmp_path, capfd) -> None:
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    out = tmp_path / "soak.json"
    assert main(["--kills", "1", "--steps", "50", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["broken"] == []
    assert [row["fault"] for row in found["faults"]][-1] == "kill -9"
    assert all(row["recovered"] == row["times"] for row in found["faults"])
    assert "nothing lost" in capfd.readouterr().out
