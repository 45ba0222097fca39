"""A synthetic recording that the tests of this folder share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording

GENERATOR = Path(__file__).parents[2] / "benchmarks" / "synthetic.py"


def make(directory: Path, operations: int, namespaces: int) -> Recording:
    size = ["--operations", str(operations), "--namespaces", str(namespaces)]
    subprocess.run([sys.executable, GENERATOR, directory, *size], check=True)
    return Recording(directory)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """2,500 operations in 120 mount namespaces: containers, a private service and a slave."""
    return make(tmp_path_factory.mktemp("synthetic") / "run.mnttrace", 2500, 120)
