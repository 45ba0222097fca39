# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What namespaces are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.analysis.names import labels, with_inode
from mnttrace.analysis.recording import Recording
from mnttrace.recording.namespaces import label
from mnttrace.recording.writer import Writer


@pytest.mark.parametrize(
    ("name", "is_home", "called"),
    [
        ("host", True, "host"),
        ("bash[752]", True, "host"),
        ("host", False, "host (mnt:[7])"),
        ("web", False, "web"),
        ("", False, "mnt:[7]"),
        (None, False, "mnt:[7]"),
    ],
)
def test_a_label(name: str | None, is_home: bool, called: str) -> None:
    assert label(name, 7, is_home=is_home) == called


def test_labels_of_a_recording_are_told_apart(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run.mnttrace")
    writer.meta |= {"wall_offset": 0, "started": 0, "stopped": 1, "home_ns_id": 2, "losses": {}}
    for ns_id, name in enumerate(["host", "bash[752]", "web", "web", "db", ""], 1):
        writer.add("namespaces", {"ns": ns_id * 10, "ns_id": ns_id, "name": name})
    writer.close()
    found = labels(Recording(tmp_path / "run.mnttrace"))
    told = ["host (mnt:[10])", "host", "web (mnt:[30])", "web (mnt:[40])", "db", "mnt:[60]"]
    assert found.to_list() == told
    numbered = [with_inode(one, ns_id * 10) for ns_id, one in found.items()]
    assert numbered == [*told[:4], "db (mnt:[50])", "mnt:[60]"]
