"""Lets the tests here import the run that they share with their subprocesses."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
