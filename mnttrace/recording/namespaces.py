# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Rows of the table `namespaces`, and what a namespace is called."""

from __future__ import annotations

from mnttrace.recording.rows import NamespaceRow

HOST = "host"


def label(name: str | None, ns: int, *, is_home: bool) -> str:
    """What a namespace is called, wherever it is named.

    Args:
        name: as in its row; where the recorder is in another namespace than pid 1, both are a host.
        ns: its inode number.
        is_home: whether it is the recorder's.

    Returns:
        "host" for the recorder's, "host (mnt:[N])" for that of pid 1 if it is another one, else its
        name, or "mnt:[N]".
    """
    if is_home:
        return HOST
    inode = f"mnt:[{ns}]"
    return f"{HOST} ({inode})" if name == HOST else name or inode


def unidentified(ns: int, ns_id: int) -> NamespaceRow:
    """The row of a namespace of which only the numbers are known.

    Args:
        ns: its inode number.
        ns_id: its unique id, or the inode number again where the kernel has none.
    """
    return {
        "ns": ns,
        "ns_id": ns_id,
        "seq": None,
        "parent_ns": None,
        "parent_ns_id": None,
        "kind": "process",
        "name": "",
        "id": "",
        "runtime": "",
        "image": "",
        "pod": "",
        "pod_namespace": "",
        "unit": "",
        "pid": 0,
        "comm": "",
        "command": "",
    }
