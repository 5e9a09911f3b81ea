"""Compiled programs: where they are kept, and that the user can say otherwise."""

import os
from pathlib import Path

import pytest

from medjax import cli
from medjax.home import compiled_folder

NAME = "JAX_COMPILATION_CACHE_DIR"


def test_programs_are_kept_in_the_home_of_medjax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path))
    monkeypatch.setenv(NAME, "elsewhere")
    assert cli.run(["--help"]) == 0 and os.environ[NAME] == "elsewhere"
    monkeypatch.delenv(NAME)
    assert cli.run(["--help"]) == 0 and os.environ[NAME] == str(compiled_folder())
    assert compiled_folder().parent == tmp_path / "compiled"
    # Left for the fixture to take back.
    monkeypatch.setenv(NAME, "elsewhere")
