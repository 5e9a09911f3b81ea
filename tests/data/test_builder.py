"""Datasets on disk: round trip, atomicity, one record in memory at a time, no TensorFlow."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

from medjax.data.builder import DatasetInfo, datasets_folder, open_splits, versions, write_dataset
from medjax.errors import UserError

INFO = DatasetInfo("toy", "1.0.0", "CC0", "made up", "OT", "")


def record(i: int, shape=(5, 7)):
    image = np.random.default_rng(i).normal(size=shape).astype(np.float32)
    return {
        "image": image,
        "spacing": np.linspace(0.5, 2.0, len(shape)).astype(np.float32),
        "case": f"case-{i}",
        "subject": f"subject-{i // 2}",
        "modality": "OT",
        "unit": "",
        "index": i,
    }


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_round_trip_is_bit_exact(tmp_path, shape):
    info = DatasetInfo("toy", "1.0.0", "CC0", "made up", "OT", "", dims=len(shape))
    shards = [lambda: [record(0, shape), record(1, shape)], lambda: [record(2, shape)]]
    done = write_dataset(info, {"train": shards, "test": [lambda: [record(3, shape)]]}, tmp_path)
    assert done.counts == {"train": 3, "test": 1}
    assert done.subjects == {"train": 2, "test": 1}
    splits = open_splits(datasets_folder(tmp_path) / "toy" / "1.0.0")
    for i, found in enumerate([*splits["train"], *splits["test"]]):
        expected = record(i, shape)
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found["image"], expected["image"])
        np.testing.assert_array_equal(found["spacing"], expected["spacing"])
        for key in ("case", "subject", "modality", "unit", "index"):
            assert found[key] == expected[key]
    assert splits["train"][-1]["case"] == "case-2"
    assert [r["case"] for r in splits["train"][1:]] == ["case-1", "case-2"]
    with pytest.raises(IndexError):
        splits["train"][3]


def test_failure_leaves_nothing_behind(tmp_path):
    def broken():
        yield record(0)
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="on fire"):
        write_dataset(INFO, {"train": [broken]}, tmp_path)
    assert versions("toy", tmp_path) == ()
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


@pytest.mark.parametrize("fault", ["gone", "cut short", "altered"])
def test_a_data_file_at_fault_is_named(tmp_path, fault):
    write_dataset(INFO, {"train": [lambda: [record(0), record(1)]]}, tmp_path)
    (folder,) = versions("toy", tmp_path)
    (file,) = folder.glob("*.array_record*")
    source = open_splits(folder)["train"]
    content = bytearray(file.read_bytes())
    if fault == "gone":
        file.unlink()
    elif fault == "cut short":
        file.write_bytes(content[: len(content) // 2])
    else:
        at = content.index(b"case-1")
        content[at : at + 4] = b"CASE"
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"toy/1.0.0/\*-train\.\*: record 1 cannot be read"):
        source[1]


def test_one_record_of_a_shard_in_memory(tmp_path):
    alive = []
    most = 0
    gc.collect()
    gc.freeze()

    def shard():
        nonlocal most
        for i in range(20):
            example = record(i)
            alive.append(weakref.ref(example["image"]))
            yield example
            del example
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))

    write_dataset(INFO, {"train": [shard]}, tmp_path)
    gc.unfreeze()
    assert len(alive) == 20
    assert most <= 2


def test_same_version_is_never_overwritten(tmp_path):
    write_dataset(INFO, {"train": [lambda: [record(0)]]}, tmp_path)
    with pytest.raises(FileExistsError):
        write_dataset(INFO, {"train": [lambda: [record(1)]]}, tmp_path)


def test_home_from_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path))
    assert datasets_folder() == tmp_path / "datasets"
    monkeypatch.delenv("MEDJAX_HOME")
    assert datasets_folder().parts[-3:] == (".cache", "medjax", "datasets")


def test_quiet_offline_and_without_tensorflow(tmp_path):
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("network")
socket.socket.connect = refuse
from medjax.data.builder import DatasetInfo, write_dataset, open_splits, datasets_folder
from pathlib import Path
import numpy as np
home = Path(sys.argv[1])
r = dict(image=np.ones((4, 4), np.float32), spacing=np.ones(2, np.float32), case="a",
         subject="a", modality="OT", unit="", index=0)
write_dataset(DatasetInfo("toy", "1.0.0", "CC0", "", "OT", ""), {"train": [lambda: [r]]}, home)
assert open_splits(datasets_folder(home) / "toy" / "1.0.0")["train"][0]["image"].sum() == 16
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
