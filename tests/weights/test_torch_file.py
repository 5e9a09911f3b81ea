"""PyTorch's files: written by PyTorch where it is installed, and by hand in both layouts."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.weights.torch_file import MAGIC, read_state_dict

NUMBERS = {
    "features.0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "features.0.bias": np.array([0.5, -1.5], np.float32),
    "classifier.0.bias": np.arange(5, dtype=np.float32),
}


def hand_pickle(tensors, stream, rebuild):
    """The pickle of a state dict, opcode by opcode where a torch name must stand."""
    view = b"N" if stream else b""
    out = io.BytesIO()
    out.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for key, (name, array) in enumerate(tensors.items()):
        strides = tuple(s // array.itemsize for s in array.strides)
        out.write(b"X" + len(name).to_bytes(4, "little") + name.encode())
        out.write(f"ctorch._utils\n{rebuild}\n(".encode())
        out.write(b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n")
        out.write(b"X\x01\x00\x00\x00" + str(key).encode() + b"X\x03\x00\x00\x00cpu")
        out.write(b"J" + array.size.to_bytes(4, "little") + view + b"tQ")
        out.write(b"K\x00")
        for numbers in (array.shape, strides):
            out.write(b"(" + b"".join(b"K" + bytes([n]) for n in numbers) + b"t")
        out.write(b"\x89ccollections\nOrderedDict\n)R" if rebuild.endswith("v2") else b"")
        out.write(b"tR")
    out.write(b"u.")
    return out.getvalue()


def write_zip(path, tensors=NUMBERS, code=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vgg/data.pkl", code or hand_pickle(tensors, False, "_rebuild_tensor_v2"))
        for key, array in enumerate(tensors.values()):
            archive.writestr(f"vgg/data/{key}", array.tobytes())


def write_stream(path, tensors=NUMBERS, code=None, magic=MAGIC):
    with path.open("wb") as file:
        for head in (magic, 1001, {"protocol_version": 1001, "little_endian": True}):
            pickle.dump(head, file, protocol=2)
        file.write(code or hand_pickle(tensors, True, "_rebuild_tensor"))
        pickle.dump([str(key) for key in range(len(tensors))], file, protocol=2)
        for array in tensors.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())


def assert_equal(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_reads_both_layouts_made_by_hand(write, tmp_path):
    path = tmp_path / "a.pth"
    write(path)
    assert_equal(read_state_dict(path), NUMBERS)
    features = {n: a for n, a in NUMBERS.items() if n.startswith("features.")}
    assert_equal(read_state_dict(path, "features."), features)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_pytorch_writes(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    both = torch.arange(10.0)
    state = collections.OrderedDict(
        {name: torch.tensor(array) for name, array in NUMBERS.items()},
        turned=torch.arange(6.0).reshape(2, 3).T,
        shared=both[2:7],
        half=torch.tensor([1.5, 2.5], dtype=torch.float16),
        count=torch.tensor(7),
        empty=torch.zeros(0, 3),
    )
    path = tmp_path / "a.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(path) == zipped
    assert_equal(read_state_dict(path), {name: t.numpy() for name, t in state.items()})


class Evil:
    def __reduce__(self):
        return os.system, ("touch broken-in",)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_runs_no_code(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    write(path, code=pickle.dumps({"features.0.bias": Evil()}, protocol=2))
    with pytest.raises(UserError, match=r"evil\.pth: is not a PyTorch file.*system"):
        read_state_dict(path)
    assert not (tmp_path / "broken-in").exists()


@pytest.mark.parametrize(
    "kind", ["empty", "text", "other zip", "short zip", "short stream", "magic", "beyond"]
)
def test_damaged_files_end_in_one_line(kind, tmp_path):
    path = tmp_path / "a.pth"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"<html>404</html>")
    elif kind == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "no weights")
    elif kind == "magic":
        write_stream(path, magic=7)
    elif kind == "beyond":
        code = hand_pickle({"x": np.zeros((2, 50), np.float32)}, False, "_rebuild_tensor_v2")
        write_zip(path, {"x": np.zeros(3, np.float32)}, code)
    else:
        (write_zip if kind == "short zip" else write_stream)(path)
        path.write_bytes(path.read_bytes()[: -200 if kind == "short zip" else -8])
    with pytest.raises(UserError, match=r"a\.pth.*download it again") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
