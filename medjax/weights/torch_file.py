"""Reading PyTorch's .pth files of plain tensors without PyTorch, and without running their code.

A .pth is a pickle, which may call any function, and the raw numbers beside it. Here the pickle
may name the functions that rebuild a tensor and nothing else. Both of PyTorch's layouts are read:
the zip archive of version 1.6 and later, and the stream before it, in which torchvision's VGG16
of 2017 still comes.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from medjax.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "LongStorage": "<i8"}


class _Storage(NamedTuple):
    """A run of numbers that tensors are views of; in a stream it is filled after the pickle."""

    key: str
    dtype: np.dtype
    size: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(storage, offset, tuple(shape), tuple(stride))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    **{("torch", name): np.dtype(code) for name, code in _TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which weights do not need")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        # A sixth entry, in streams, says that the storage is a view of another; unused since 2017.
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError("it refers to something else than stored numbers")
        return _Storage(str(key), dtype, int(size))


def read_state_dict(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, by name.

    Args:
      path: the file.
      prefix: only tensors whose names start so are read.

    Raises:
      UserError: the file is no such file, is damaged, or wants more than to be weights.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path, prefix)
        with path.open("rb") as file:
            return _read_stream(file, prefix)
    except (
        # What pickle, zipfile and NumPy raise on bytes that are not what they should be.
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(
            f"{path}: is not a PyTorch file of plain weights ({error}); download it again"
        ) from error


def _read_zip(path: Path, prefix: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = next((n for n in names if n.endswith("data.pkl")), "data.pkl")
        root = pickled.removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in names and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian")
        tensors = _views(_Unpickler(io.BytesIO(archive.read(pickled))).load())
        kept = {name: view for name, view in tensors.items() if name.startswith(prefix)}
        return _fill(kept, lambda s: archive.read(f"{root}data/{s.key}"))


def _read_stream(file: BinaryIO, prefix: str) -> dict[str, np.ndarray]:
    magic, _, system, state, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != MAGIC or not system["little_endian"]:
        raise ValueError("no PyTorch file of little-endian numbers")
    tensors = _views(state)
    kept = {name: view for name, view in tensors.items() if name.startswith(prefix)}
    wanted = {view.storage.key for view in kept.values()}
    # A storage that no tensor shows has no known width, so it must not come.
    widths = {view.storage.key: view.storage.dtype.itemsize for view in tensors.values()}
    blobs = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little") * widths[key]
        if key in wanted:
            blobs[key] = file.read(size)
        else:
            file.seek(size, io.SEEK_CUR)
    return _fill(kept, lambda s: blobs[s.key])


def _views(state: Any) -> dict[str, _View]:
    if not (isinstance(state, dict) and all(isinstance(v, _View) for v in state.values())):
        raise ValueError("it holds no mapping of names to tensors")
    return dict(state)


def _fill(tensors: dict[str, _View], read: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (storage, offset, shape, stride) in tensors.items():
        numbers = np.frombuffer(read(storage), storage.dtype)
        last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        if min((offset, *shape, *stride), default=0) < 0 or last >= max(len(numbers), 1):
            raise ValueError(f"{name} reaches beyond its numbers")
        strides = tuple(s * storage.dtype.itemsize for s in stride)
        view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)
        arrays[name] = view.copy()
    return arrays
