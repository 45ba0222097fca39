# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The rows that a raw log gives, as lines to read and to compare.

A line a row of `operations`, with its effects below it, then effects without an operation,
namespaces, processes, users and losses. Times are left out. N12 is the namespace and M34 the mount
of that id, less the number at which the kernel begins, or numbers are made up. Of snapshots and
mounts there are the counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
from tests.rejoined import Rows

AnyRow = Mapping[str, Any]
# What a row has beside what its line begins with, if it is neither null nor empty.
OPERATION = (
    "parent", "child", "uid", "fstype", "path", "source_path", "flags", "propagation",
    "attributes", "data", "fs_context", "unread",
)  # fmt: skip
EFFECT = (
    "root", "device", "source", "shared", "master", "propagation", "unbindable",
    "locked", "before", "after", "copy_of_path", "via_group", "via_path",
)  # fmt: skip
NAMESPACE = (
    "seq", "kind", "name", "id", "runtime", "image", "pod", "pod_namespace", "unit", "pid", "comm",
    "command",
)  # fmt: skip
FIRST_INODE = 0xF0000000  # PROC_DYNAMIC_FIRST, fs/proc/generic.c
FIRST_MOUNT = 1 << 31  # MNT_UNIQUE_ID_OFFSET, fs/namespace.c
PROCESS = ("parent", "uid", "comm", "parent_comm", "command", "cgroup_path")


def readable(rows: Rows) -> list[str]:
    """Lines of the rows of one log."""
    tables: dict[str, list[AnyRow]] = defaultdict(list)
    for table, row in rows:
        tables[table].append(row)
    effects = defaultdict(list)
    for effect in tables["effects"]:
        effects[effect["seq"]].append(_effect(effect))
    lines = []
    for operation in tables["operations"]:
        lines += [_operation(operation), *effects.pop(operation["seq"], [])]
    for seq, others in sorted(effects.items(), key=lambda item: item[0] or 0):
        lines += ["no operation" if seq is None else f"operation {seq} is not there", *others]
    lines += map(_namespace, tables["namespaces"])
    lines += [
        f"process {row['pid']} in {_space(row['ns_id'])}{_rest(row, PROCESS)}"
        for row in tables["processes"]
    ]
    lines += [
        f"user of {_mount(row['mnt_id_unique'])} in {_space(row['ns_id'])}: {row['pid']}"
        f"{_rest(row, ('seq', 'comm', 'how', 'path'))}"
        for row in tables["users"]
    ]
    lines += [f"loss {row['kind']} {row['count']}" for row in tables["losses"] if row["count"]]
    lines += _counts("snapshots", "reason", tables["snapshots"])
    lines += _counts("mounts", "change", tables["mounts"])
    return lines


def _operation(row: AnyRow) -> str:
    result = row["error"] or row["result"]
    spaces = _space(row["ns_id"])
    if row["ns_target_id"]:
        spaces += f" to {_space(row['ns_target_id'])}"
    return (
        f"{row['seq']} {row['syscall']}({row['source']!r}, {row['target']!r}) = {result} "
        f"by {row['comm']} {row['pid']}/{row['tid']} in {spaces}{_rest(row, OPERATION)}"
    )


def _effect(row: AnyRow) -> str:
    usual = {"root": "/", "after": row["before"]}
    parts = [
        f"  {row['action']} {row['via'] or '?'} {row['evidence']} {row['pid']}/{row['tid']}",
        f"{_mount(row['mnt_id_unique'])}={row['mount_id']} in {_space(row['ns_id'])}",
        f"{row['mountpoint']!r} on {_mount(row['parent_unique'])} {row['parent_path']!r}",
    ]
    if row["copy_of_unique"]:
        parts.append(f"of {_mount(row['copy_of_unique'])} in {_space(row['copy_of_ns_id'])}")
    if row["via_unique"]:
        parts.append(f"by way of {_mount(row['via_unique'])}")
    columns = [column for column in EFFECT if row[column] != usual.get(column)]
    return " ".join(parts) + _rest(row, columns)


def _namespace(row: AnyRow) -> str:
    parent = _space(row["parent_ns_id"]) if row["parent_ns_id"] else "?"
    return f"namespace {_space(row['ns_id'])} from {parent}{_rest(row, NAMESPACE)}"


def _space(ns_id: int) -> str:
    return f"N{ns_id - FIRST_INODE if ns_id >= FIRST_INODE else ns_id}"


def _mount(unique: int) -> str:
    return f"M{unique - (FIRST_MADE_UP if unique >= FIRST_MADE_UP else FIRST_MOUNT)}"


def _rest(row: AnyRow, columns: Iterable[str]) -> str:
    return "".join(
        f" {column}={row[column]!r}" for column in columns if row[column] not in (None, "", False)
    )


def _counts(table: str, column: str, rows: list[AnyRow]) -> list[str]:
    counts = Counter(row[column] for row in rows)
    return [f"{table} {value} {count}" for value, count in sorted(counts.items())]
