# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Trees: peer groups that had one number one after the other."""

from __future__ import annotations

import io
from pathlib import Path

from mnttrace.analysis.recording import Recording
from mnttrace.recording.writer import Writer
from mnttrace.report.tree import render

GROUP = 24
SECOND = 10**9  # ns


def test_groups_with_one_number_are_told_apart_by_their_time(tmp_path: Path) -> None:
    """Peers in a namespace that ended; then others on the host, which have their number."""
    writer = Writer(tmp_path / "run.mnttrace")
    writer.meta |= {"wall_offset": 0, "started": 0, "stopped": 9 * SECOND, "home_ns_id": 1}
    writer.meta |= {"losses": {}}
    for number, (ns_id, reason) in enumerate([(2, "start"), (2, "gone"), (1, "end")], 1):
        when = {"started": number * SECOND, "ended": number * SECOND, "operations": 0}
        writer.add("snapshots", when | {"snapshot": number, "ns_id": ns_id, "reason": reason})
    for mount_id, ns_id, path, source in (
        (10, 1, "/one", "later"),
        (11, 1, "/two", "later"),
        (20, 2, "/a", "first"),
        (21, 2, "/b", "first"),
    ):
        mount = {"ns": ns_id, "ns_id": ns_id, "mount_id": mount_id, "mnt_id_unique": mount_id}
        mount |= {"parent_id": 1, "mountpoint": path, "root": "/", "fstype": "tmpfs"}
        mount |= {"source": source, "device": f"0:{ns_id}", "shared": GROUP}
        gone = ns_id == 2
        row = {"snapshot": 1 if gone else 3, "change": "initial"}
        writer.add("mounts", mount | row | {"propagation": "shared", "options": "rw"})
        if gone:
            writer.add("mounts", mount | {"snapshot": 2, "change": "removed"})
        effect = {"monotonic": (2 if gone else 3) * SECOND, "ts": (2 if gone else 3) * SECOND}
        how = ("detach", "namespace-death") if gone else ("attach", "direct")
        writer.add("effects", mount | effect | dict(zip(("action", "via"), how, strict=True)))
    for ns_id, name in ((1, "host"), (2, "sh[7]")):
        writer.add("namespaces", {"ns": ns_id, "ns_id": ns_id, "name": name, "kind": "process"})
    writer.close()
    text = io.StringIO()
    render(Recording(tmp_path / "run.mnttrace"), text)
    lines = text.getvalue().splitlines()
    groups = lines[lines.index(next(line for line in lines if line.startswith("peer groups"))) :]
    again = "its number was used again"
    assert groups == [
        "peer groups with more than one member or slave, joined by number, file system and time",
        f"├── group {GROUP} of mounts there from the beginning to 00:00:02.000000: {again}",
        "│   ├── peer  sh[7]: /a",
        "│   └── peer  sh[7]: /b",
        f"└── group {GROUP} of mounts there from 00:00:03.000000 to the end: {again}",
        "    ├── peer  host: /one",
        "    └── peer  host: /two",
    ]
    assert "sh[7] (mnt:[2]): 2 mounts, gone by the end" in lines
