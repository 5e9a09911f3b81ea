"""Freed blocks are kept, or given in large pages: a second block costs few page faults."""

import os
import subprocess
import sys

import pytest

from medjax.heap import _LARGE_PAGES, _SETTINGS

# A block of 48 MiB in whole pages of 4 KiB, written, freed and written again.
_PAGES = 48 * 2**20 // 4096
_PROGRAM = """
import resource, sys
import numpy as np
from medjax.heap import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else None
np.ones(48 * 2**20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(48 * 2**20, np.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str, program: str = _PROGRAM, **variables: str) -> tuple[str, int]:
    """What `keep_freed` said, and how many pages the second block had to be given."""
    inherited = {k: v for k, v in os.environ.items() if k not in (*_SETTINGS, "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", program, mode],
        # NumPy asks for large pages by itself.
        env={**inherited, "NUMPY_MADVISE_HUGEPAGE": "0", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept, int(count)


def test_a_block_that_was_freed_is_given_again_without_new_pages():
    kept, again = faults("keep")
    if kept == "False":
        pytest.skip("needs the GNU C library's allocator")
    assert again < _PAGES // 100


_ANEW = _PROGRAM.replace(
    "np.ones", "from medjax.heap import take_large_anew\ntake_large_anew()\nnp.ones", 1
)


def test_large_blocks_are_taken_anew_where_that_is_asked_for():
    kept, again = faults("keep", program=_ANEW)
    if kept == "False":
        pytest.skip("needs the GNU C library's allocator")
    assert again > _PAGES // 2


def test_large_blocks_stay_as_the_user_has_set_them():
    ours = {name: str(size) for name, (_, size) in _SETTINGS.items()}
    _, again = faults("leave", program=_ANEW, **{**ours, "MALLOC_TRIM_THRESHOLD_": "999999999"})
    assert again < _PAGES // 100


def test_what_the_user_has_set_stays():
    kept, _ = faults("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False"
    kept, _ = faults("keep", GLIBC_TUNABLES="glibc.malloc.check=0")
    assert kept == "False"


def test_processes_that_are_started_keep_too():
    kept, _ = faults("keep")
    if kept == "False":
        pytest.skip("needs the GNU C library's allocator")
    _, again = faults("leave", **{name: str(size) for name, (_, size) in _SETTINGS.items()})
    assert again < _PAGES // 100


_STARTED = """
import os, resource, sys
from medjax.heap import keep_freed, start_with_large_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), flush=True)
start_with_large_pages()
import numpy as np
np.ones(96 * 2**20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(96 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, keep_freed(), sys.argv[1:])
sys.exit(3)
"""


def started(tmp_path, **variables: str) -> list[str]:
    """What a program prints that starts with large pages; it must end as it wants to."""
    program = tmp_path / "program.py"
    program.write_text(_STARTED)
    inherited = {k: v for k, v in os.environ.items() if k not in (*_SETTINGS, "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), "one", "two words"],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_program_starts_again_with_large_pages_in_the_same_process(tmp_path):
    if not _LARGE_PAGES.is_file() or "[madvise]" not in _LARGE_PAGES.read_text():
        pytest.skip("needs a kernel that gives large pages to those who ask")
    told = started(tmp_path)
    if len(told) == 2:
        pytest.skip("needs the GNU C library's allocator")
    first, second, end = told
    assert first.split()[1] == "None"
    assert second.split()[0] == first.split()[0]
    assert "hugetlb=1" in second
    faults, rest = end.split(maxsplit=1)
    # 24,576 pages of 4 KiB, or 48 of 2 MiB.
    assert int(faults) < 24_576 // 20
    # What a process was born with is not set again.
    assert rest == "False ['one', 'two words']"


def test_a_program_does_not_start_again_where_the_user_has_set_the_allocator(tmp_path):
    (first, _) = started(tmp_path, GLIBC_TUNABLES="glibc.malloc.check=0")
    assert first.endswith("glibc.malloc.check=0")
