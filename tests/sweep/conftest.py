"""A home with two toy datasets, one of them without validation scans, and the toy experiment."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna")

from medjax.data.builder import DatasetInfo, Record, write_dataset

TOY = Path(__file__).parent / "toy_experiment.py"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name, splits in (("toy", ("train", "valid", "test")), ("blind", ("train", "test"))):
        info = DatasetInfo(name, "1.0.0", "none", "random", "OT", "")
        write_dataset(info, {s: [lambda s=s: _records(s)] for s in splits}, home)
    return home


@pytest.fixture
def toy(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The toy experiment's file, where a sweep finds its data and writes into `tmp_path`."""
    monkeypatch.setenv("MEDJAX_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return str(TOY)


def _records(split: str) -> Iterator[Record]:
    rng = np.random.default_rng(len(split))
    for i in range(2):
        yield {
            "image": np.kron(rng.normal(size=(4, 4)), np.ones((6, 6))).astype(np.float32),
            "spacing": np.ones(2, np.float32),
            "case": f"{split}-{i}",
            "subject": f"{split}-{i}",
            "modality": "OT",
            "unit": "",
            "index": i,
        }
