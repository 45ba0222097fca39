# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces, operations and numbers in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.names import with_inode
from mnttrace.report.calls import call_text
from mnttrace.report.text import safe


def title(namespace: Row) -> str:
    """What a namespace is called, see :func:`mnttrace.analysis.names.labels`.

    Args:
        namespace: a row of `diagnosis.namespaces`, or {} for one that is not known.
    """
    return safe(namespace.get("label") or "?")


def numbered(namespace: Row) -> str:
    """The same, with the inode number."""
    return with_inode(title(namespace), namespace.get("ns"))


def inode(ns: int | None, before: str = "") -> str:
    """Like "mnt:[4026531841]"; "" if it is not known, as of imported mount tables.

    Args:
        ns: the inode number of a mount namespace.
        before: what goes before it, if there is one.
    """
    return f"{before}mnt:[{ns}]" if ns else ""


def operation(row: Row) -> str:
    """A row of `operations`: who called what, when, and its number."""
    when = row["ts"]
    at = f"{when:%H:%M:%S.%f} " if isinstance(when, datetime) else ""
    return f"{safe(row['comm'])}[{row['pid']}] {at}{call_text(row)} (operation {row['seq']})"


def uncalled(tid: int | None, threads: Mapping[int, str]) -> str:
    """Who did what no call was seen for.

    Args:
        tid: the thread; None where that is not known.
        threads: what these are called.
    """
    if not tid:
        return "an unknown process"
    return f"{safe(threads.get(tid, f'thread {tid}'))}, in no call that was seen"


def growth(row: Row) -> str:
    """How binds grow: a row of `run.doublings` in one sentence."""
    source, targets = safe(row["source_path"]), safe(row["targets"])
    what = f"{safe(row['comm'])} binds {source}"
    if row["is_below"]:
        return f"{what} below itself, at {targets}"
    if row["group"] is None:
        return f"{what} at {targets}, again and again"
    return f"{what} at {targets}: all are in peer group {row['group']}, and get each other's mounts"
