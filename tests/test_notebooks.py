"""The tour runs from top to bottom, without Jupyter, in a few steps."""

import json
import re
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[1] / "notebooks" / "tour.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(TOUR.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_tour_runs_and_its_new_method_learns(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("tour")))
    scope: dict[str, object] = {"__name__": "tour"}
    for number, cell in enumerate(code_cells()):
        fewer = re.sub(r"^STEPS = \d+$", "STEPS = 4", cell, flags=re.MULTILINE)
        exec(compile(fewer, f"{TOUR.name}[{number}]", "exec"), scope)
    said = capsys.readouterr().out
    assert "4 steps" in said
    rows = re.findall(r"^small-128 +(\S.*?) +([\d.]+) dB +SSIM ([\d.]+)$", said, re.MULTILINE)
    assert [row[0] for row in rows] == ["low-dose FBP", "U-Net", "low-dose FBP", "DnCNN"]
    # The same scan for both; a network near the identity leaves it near what it was.
    assert rows[0] == rows[2]
    for name, psnr, _ in rows:
        assert abs(float(psnr) - float(rows[0][1])) < 3, name
    for run in ("plain", "mine"):
        logged = (scope["FOLDER"] / run / "metrics.jsonl").read_text().splitlines()
        assert json.loads(logged[-1])["step"] == 4


def test_the_tour_keeps_no_outputs_and_its_new_method_is_short() -> None:
    cells = json.loads(TOUR.read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    (method,) = (cell for cell in code_cells() if cell.startswith("# new method"))
    assert len(method.splitlines()) < 60
