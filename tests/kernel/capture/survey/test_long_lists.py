# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Lists of more mounts than one walk over them passes."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.probes.kernel import KernelProbes

MOUNTS = 5000
MAKE_THEM = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
MS_BIND = 0x1000
for number in range({MOUNTS}):
    os.mkdir(str(number))
    assert libc.mount(b".", str(number).encode(), None, MS_BIND, None) == 0
print("made", flush=True)
sys.stdin.read()
"""


def test_a_namespace_of_five_thousand_mounts_is_listed_whole(tmp_path: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", MAKE_THEM],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        lines = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        namespace = Path(f"/proc/{process.pid}/ns/mnt").stat().st_ino
        probes = KernelProbes()
        if not probes.can_walk:
            probes.close()
            pytest.skip("this kernel's mounts are not walked over")
        session = Session(probes, lambda table, row: rows[table].append(row), 0, Filter())
        session.begin()
        losses = session.end()
        session.close()
        probes.close()
        process.communicate("")
    [snapshot] = [
        row["snapshot"]
        for row in rows["snapshots"]
        if (row["ns"], row["reason"]) == (namespace, "start")
    ]
    listed = [row["mount_id"] for row in rows["mounts"] if row["snapshot"] == snapshot]
    assert sorted(listed) == sorted(int(line.split()[0]) for line in lines)
    assert len(listed) > MOUNTS
    assert not losses["cut_walk"]
