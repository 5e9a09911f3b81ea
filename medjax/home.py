"""Where medjax keeps what it makes for itself: datasets, weights, compiled programs."""

import os
import platform
import zlib
from pathlib import Path


def home() -> Path:
    """`$MEDJAX_HOME`, else `~/.cache/medjax`."""
    return Path(os.environ.get("MEDJAX_HOME") or Path.home() / ".cache" / "medjax").expanduser()


def compiled_folder() -> Path:
    """Where compiled programs are kept, apart for processors with other instructions.

    A home may be shared by machines, and a CPU's program can end one that lacks an instruction.
    """
    about = platform.machine()
    if (cpus := Path("/proc/cpuinfo")).is_file():
        lines = cpus.read_text().splitlines()
        about += next((li for li in lines if li.startswith(("flags", "Features"))), "")
    return home() / "compiled" / f"{platform.machine()}-{zlib.crc32(about.encode()):08x}"
