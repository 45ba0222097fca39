# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace export --format dot` and `mermaid`."""

from __future__ import annotations


def test_a_namespace_that_is_gone_says_so(write, mnttrace) -> None:
    mount = {"mount_id": 1, "parent_id": 1, "mountpoint": "/", "shared": 7, "change": "initial"}
    write(
        namespaces=[{"ns": ns, "ns_id": ns, "kind": "process", "name": f"n{ns}"} for ns in (1, 2)],
        snapshots=[
            {"snapshot": 1, "ns": 1, "ns_id": 1, "reason": "start"},
            {"snapshot": 2, "ns": 2, "ns_id": 2, "reason": "birth"},
            {"snapshot": 3, "ns": 2, "ns_id": 2, "reason": "gone"},
        ],
        mounts=[
            mount | {"snapshot": 1, "ns": 1, "ns_id": 1},
            mount | {"snapshot": 2, "ns": 2, "ns_id": 2},
            mount | {"snapshot": 3, "ns": 2, "ns_id": 2, "change": "removed"},
        ],
    )
    shown = mnttrace("export", "run.mnttrace", "--format", "mermaid").stdout
    assert 'subgraph n1["host"]' in shown
    assert 'subgraph n2["n2, gone by the end"]' in shown


def test_no_peer_group_is_an_empty_graph(write, mnttrace) -> None:
    write()
    assert mnttrace("export", "run.mnttrace", "--format", "mermaid").stdout == "flowchart LR\n"
    dot = mnttrace("export", "run.mnttrace", "--format", "dot").stdout
    assert dot == "digraph mounts {\n  rankdir=LR\n  node [shape=box]\n}\n"
