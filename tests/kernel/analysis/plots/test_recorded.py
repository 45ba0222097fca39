# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of real recordings, held against the kernel's own mount tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import Mount, parse
from tests.unit.analysis.plots.charts import mounts_in, rows_with

Run = Callable[..., CompletedProcess[str]]

# A peer and a slave, in trees that were moved, get what is mounted in the first namespace. It is
# not the last command of its shell that makes the next one: the shell stays for the tables.
SCRIPT = """
mkdir base; mount -t tmpfs --make-private base base
mkdir base/a base/b; mount -t tmpfs --make-shared a base/a
mkdir base/a/x base/a/y; mount -t tmpfs x base/a/x; mkdir base/a/x/in
cat >first <<'END'
export FIRST=$$
unshare --mount --propagation unchanged sh -e second
true
END
cat >second <<'END'
export SECOND=$$
mount --move base/a base/b
unshare --mount --propagation slave sh -e third
true
END
cat >third <<'END'
mount --make-shared base/b
mount -t tmpfs mine base/b/y
nsenter --mount=/proc/$FIRST/ns/mnt mount -t tmpfs carried $PWD/base/a/x/in
cat /proc/$FIRST/mountinfo >first.table
cat /proc/$SECOND/mountinfo >second.table
cat /proc/self/mountinfo >third.table
END
$MNTTRACE record -o run.mnttrace -- sh -e first
"""


@pytest.fixture
def recorded(in_namespace: Run, tmp_path: Path) -> Recording:
    in_namespace(SCRIPT)
    return Recording(tmp_path / "run.mnttrace")


def table(folder: Path, name: str) -> list[Mount]:
    return parse((folder / f"{name}.table").read_text(), name)


def told(mounts: list[Mount]) -> Counter[Any]:
    return Counter((one.mountpoint, one.shared, one.master) for one in mounts)


def test_a_graph_is_what_the_kernel_has(recorded: Recording, tmp_path: Path) -> None:
    copies = recorded.propagations
    seq = int(copies.loc[copies["source"] == "carried", "seq"].iloc[0])
    nodes = mounts_in(recorded.plot.graph(seq=seq))
    truth = [told(table(tmp_path, name)) for name in ("first", "second", "third")]
    drawn: dict[str, Counter[Any]] = {}
    for row in nodes:
        spot = (row["path"], row["shared"], row["master"])
        drawn.setdefault(row["namespace"], Counter())[spot] += 1
    # Every column is part of one of the tables, and the three are there.
    found = [
        next((at for at, mounts in enumerate(truth) if column <= mounts), None)
        for column in drawn.values()
    ]
    assert sorted(at for at in found if at is not None) == [0, 1, 2]
    ends = {row["path"] for row in nodes if row["stands_out"]}
    base = tmp_path / "base"
    assert {f"{base}/a/x/in", f"{base}/b/x/in"} <= ends
    # The one that was mounted into the slave alone is not.
    assert not any(row["path"].endswith("/y") for row in nodes)


def test_growth_ends_with_the_mounts_that_there_are(recorded: Recording, tmp_path: Path) -> None:
    rows = rows_with(recorded.plot.growth(), "lane", "mounts")
    host = [row["mounts"] for row in rows if row["lane"] == "host"]
    assert host[-1] == len(table(tmp_path, "first"))
    assert host[0] == host[-1] - 1
    # The two others are gone, with all of their mounts.
    gone = {row["lane"]: row["mounts"] for row in rows if row["lane"] != "host"}
    most = Counter(row["lane"] for row in rows if row["mounts"] == len(table(tmp_path, "third")))
    assert any(gone[lane] == 0 for lane in most if lane != "host")
