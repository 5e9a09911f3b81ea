"""Intel's oneDNN found on this machine, and made callable from XLA's CPU programs.

jaxlib comes without it. The `cpu` extra installs it, and the few lines between it and XLA
(medjax/nn/onednn.cc) are compiled once, with the machine's own C++ compiler, and kept in medjax's
home. Without either, XLA's own convolutions run, to the same numbers but for rounding.
"""

import ctypes
import importlib.metadata
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zlib
from functools import cache
from pathlib import Path

import jax

from medjax.home import home

TARGET = "medjax_convolution"
# Set to 0, XLA's own convolutions run.
SWITCH = "MEDJAX_ONEDNN"
_DISTRIBUTION, _LIBRARY = "onednn-cpu-gomp", "libdnnl.so.3"
_SOURCE, *_HEADERS = (
    Path(__file__).with_name(name) for name in ("onednn.cc", "onednn_plan.h", "onednn_interface.h")
)
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared")
_COMPILERS = ("c++", "g++", "clang++")
_PATIENCE = 120
_log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """The library with XLA's CPU backend told of it, or None where convolutions are XLA's.

    Only processors with AVX-512 are served: with AVX2 alone, on which oneDNN has no quick code for
    channels that lie last, its forward passes and input gradients take up to twice XLA's time.
    """
    if os.environ.get(SWITCH) == "0" or not _suits():
        return None
    there = _installed()
    if there is None:
        _log.info("convolutions by XLA: the cpu extra would bring oneDNN, which is faster")
        return None
    try:
        loaded = ctypes.CDLL(str(_compiled(there)))
        handler = jax.ffi.pycapsule(loaded[TARGET])
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        _log.warning("convolutions by XLA: oneDNN could not be made ready: %s", _line(error))
        return None
    jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")
    return loaded


def version() -> str | None:
    """Of the oneDNN that convolutions run on here, or None."""
    return None if library() is None else importlib.metadata.version(_DISTRIBUTION)


@cache
def code(problem: tuple[int, ...]) -> str:
    """What oneDNN calls the code that it runs for a problem; empty where it has none."""
    loaded = library()
    if loaded is None:
        return ""
    numbers = (ctypes.c_int64 * len(problem))(*problem)
    name = ctypes.create_string_buffer(128)
    ask = loaded["medjax_convolution_code"]
    ask.restype = ctypes.c_bool
    known = ask(numbers, ctypes.c_int64(len(problem)), name, ctypes.c_int64(len(name)))
    return name.value.decode() if known else ""


def _suits() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= set(flags)


def _installed() -> Path | None:
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())).resolve() for file in files if file.name == _LIBRARY)
    return next((path for path in found if path.is_file()), None)


def _compiled(there: Path) -> Path:
    """The compiled lines between, from medjax's home where they are kept."""
    sources, headers = [path.read_text() for path in (_SOURCE, *_HEADERS)], jax.ffi.include_dir()
    about = (*sources, str(there), headers, importlib.metadata.version("jaxlib"), *_FLAGS)
    kept = home() / "onednn" / f"{zlib.crc32(chr(0).join(about).encode()):08x}.so"
    if kept.is_file():
        return kept
    asked = os.environ.get("CXX", "").split()
    compiler = asked or [path for name in _COMPILERS if (path := shutil.which(name))][:1]
    if not compiler:
        raise FileNotFoundError("no C++ compiler (c++, g++ or clang++; CXX may name one)")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        made = Path(scratch, kept.name)
        linked = (f"-L{there.parent}", f"-l:{there.name}", f"-Wl,-rpath,{there.parent}")
        subprocess.run(
            [*compiler, *_FLAGS, f"-I{headers}", str(_SOURCE), "-o", str(made), *linked],
            check=True,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        made.replace(kept)
    return kept


def _line(error: Exception) -> str:
    """What went wrong, in one line."""
    said = getattr(error, "stderr", None) or str(error)
    return next((li for li in said.splitlines() if "error" in li.lower()), said.splitlines()[0])
