"""Lets the tests here import the run that they share with their subprocesses."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nursery import Nursery

# Of a damaged checkpoint, Orbax leaves tensorstore futures that end after their event loop has
# closed, within whichever test runs then. No other folder of tests reads damaged checkpoints.
LATE = "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(LATE))


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()
