# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The recordings that the notebooks read are those that the script beside them makes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import mnttrace
from tests import CHECKOUT

KEPT = CHECKOUT / "notebooks/recordings"


@pytest.mark.kernel("runc", "busybox")
def test_made_again_they_tell_the_same(tmp_path: Path) -> None:
    # Not under /srv, which the script has for its own.
    made = tmp_path / "made"
    subprocess.run(
        [CHECKOUT / "scripts/recordings.sh", made], check=True, capture_output=True, timeout=300
    )
    names = sorted(str(path.relative_to(KEPT)) for path in KEPT.rglob("*.mnttrace"))
    assert names == sorted(str(path.relative_to(made)) for path in made.rglob("*.mnttrace"))
    assert len(names) == 10
    for name in names:
        found = mnttrace.compare(mnttrace.load(KEPT / name), mnttrace.load(made / name))
        # A namespace that lives shortly is called by its first process, before or after its exec.
        ours = ("host", "web", "agent")
        stable = found[found["src_name"].isin(ours) & found["dst_name"].isin(ours)]
        assert set(stable["state"]) <= {"same"}, name
    shutil.rmtree(made)
