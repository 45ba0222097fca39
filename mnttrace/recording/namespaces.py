# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Rows of the table `namespaces`."""

from __future__ import annotations

from mnttrace.recording.rows import NamespaceRow


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
