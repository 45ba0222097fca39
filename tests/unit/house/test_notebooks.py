# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Notebooks and their recordings, as they are kept."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

import mnttrace
from tests import CHECKOUT

NOTEBOOKS = CHECKOUT / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
KEPT = CHECKOUT / "notebooks/recordings"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_they_are_small_and_tell_nothing_of_the_machine() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    for recording in KEPT.rglob("*.mnttrace"):
        run = mnttrace.load(recording)
        assert run.warnings == []
        places = set(run.mounts["mountpoint"]) | set(run.effects["mountpoint"])
        usual = ("/proc", "/sys", "/dev", "/srv", "/volume", "/run")
        odd = {place for place in places if place != "/" and not place.startswith(usual)}
        assert odd == set(), recording
