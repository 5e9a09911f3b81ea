"""Memory that is freed and wanted again at the next step: kept, or given in large pages.

XLA's CPU programs take the memory of their intermediate results when they begin and free it when
they end. The GNU C library gives blocks of such size back to the kernel, which hands out new pages
of 4 KiB one by one, filled with zeros, at the next step. On two cores that took a fifth of the
training step of a small U-Net, autoencoder or CNN10, and a quarter where more than 64 MiB are
wanted at once. Blocks up to that size can be kept; larger ones are given in pages of 2 MiB, which
the library asks for only in a process that was born so.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

_KEPT, _TRIMMED = 64 * 2**20, 2**30
# What `take_large_anew` leaves to be kept.
_SMALL = 8 * 2**20
# As in <malloc.h>, with the variables by which a process is born with them.
_SETTINGS = {
    # Larger blocks come from the kernel all the same in threads other than the first.
    "MALLOC_MMAP_THRESHOLD_": (-3, _KEPT),
    "MALLOC_TRIM_THRESHOLD_": (-1, _TRIMMED),
}
_TUNABLES = "GLIBC_TUNABLES"
_BORN = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (
        ("hugetlb", 1),
        ("mmap_threshold", _KEPT),
        ("trim_threshold", _TRIMMED),
        # Threads' heaps, of 64 MiB each, are else given back whenever they are empty.
        ("top_pad", 64 * 2**20),
    )
)
_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_with_large_pages() -> None:
    """Starts this program anew, in the same process, with large pages and freed memory kept.

    For the first line of programs, which own their process: nothing that was done before remains.
    Does nothing where it was done already, where the user has set one of the allocator's
    variables, where the kernel gives such pages to nobody or to everybody, and without the GNU C
    library.
    """
    if not _ours_to_set() or not sys.executable:
        return
    try:
        asked_for = "[madvise]" in _LARGE_PAGES.read_text()
    except OSError:
        return
    if asked_for:
        arguments = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, _TUNABLES: _BORN})


def keep_freed() -> bool:
    """Lets this process, and those that it starts, keep freed blocks of up to 64 MiB.

    For programs, which own their process; a process holds the most that it ever needed until it
    ends. Where the user has set one of the allocator's variables, or it was born with large pages,
    all is left as it is.

    Returns:
      Whether that was set now: on Linux with the GNU C library, and not by whoever started this.
    """
    if not _ours_to_set():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = all(mallopt(option, size) == 1 for option, size in _SETTINGS.values())
    if done:
        os.environ.update({name: str(size) for name, (_, size) in _SETTINGS.items()})
    return done


def take_large_anew() -> None:
    """Lets this process take blocks over 8 MiB from the kernel again, and give them back.

    For programs that keep something small of every step, as a profiler its events: where freed
    blocks are kept these come to lie in the room of the next step's results, which then takes 64
    MiB more, and takes it slowly (of quickstart's traced steps of 35 ms most took 135). Does
    nothing where the allocator is not as `keep_freed` or `start_with_large_pages` set it.
    """
    if os.environ.get(_TUNABLES) == _BORN or all(
        os.environ.get(name) == str(size) for name, (_, size) in _SETTINGS.items()
    ):
        option, _ = _SETTINGS["MALLOC_MMAP_THRESHOLD_"]
        ctypes.CDLL(None).mallopt(option, _SMALL)


def _ours_to_set() -> bool:
    named = any(name in os.environ for name in (*_SETTINGS, _TUNABLES))
    return platform.libc_ver()[0] == "glibc" and not named
