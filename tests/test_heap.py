"""Freed blocks are kept: a second block of the same size finds its pages there already."""

import os
import subprocess
import sys

import pytest

from medjax.heap import _SETTINGS

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


def faults(mode: str, **variables: str) -> tuple[str, int]:
    """What `keep_freed` said, and how many pages the second block had to be given."""
    inherited = {k: v for k, v in os.environ.items() if k not in (*_SETTINGS, "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode],
        env={**inherited, **variables},
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
