"""A full disk is named, whoever noticed it."""

import ctypes
import errno
import logging
import sys

import pytest

from medjax.cli import _is_for_users, main
from medjax.io.common import atomic, naming_full_disk

TENSORSTORE = 'RESOURCE_EXHAUSTED: Error writing "a/0": Failed: No space left on device'


@pytest.mark.parametrize(
    "raised", [OSError(errno.ENOSPC, "No space left on device"), ValueError(TENSORSTORE)]
)
def test_a_full_disk_names_the_file(tmp_path, raised) -> None:
    target = tmp_path / "result.json"
    with pytest.raises(OSError, match="No space left") as told, atomic(target):
        raise raised
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(target))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "raised", [OSError(errno.ENOSPC, "full", "other"), OSError(errno.EACCES, "no"), ValueError("x")]
)
def test_what_is_named_or_something_else_stays(tmp_path, raised) -> None:
    before = str(raised)
    with pytest.raises(type(raised)) as told, naming_full_disk(tmp_path):
        raise raised
    assert told.value is raised and str(raised) == before


def test_tracebacks_that_orbax_logs_are_not_shown() -> None:
    def record(name: str, *, failed: bool) -> logging.LogRecord:
        error = (ValueError, ValueError("x"), None) if failed else None
        return logging.LogRecord(name, logging.ERROR, "f", 1, "text", (), error)

    assert not _is_for_users(record("absl", failed=True))
    assert _is_for_users(record("absl", failed=False))
    assert _is_for_users(record("medjax", failed=True))


def test_what_tensorstore_says_of_a_closed_loop_is_not_shown(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(sys, "argv", ["medjax"])
    with pytest.raises(SystemExit):
        main()
    capsys.readouterr()
    for text in ("Event loop is closed", "a fault of ours"):

        @ctypes.CFUNCTYPE(None)
        def late(text=text):
            raise RuntimeError(text)

        late()
    shown = capsys.readouterr().err
    assert shown.count("Traceback") == 1 and shown.endswith("RuntimeError: a fault of ours\n")
