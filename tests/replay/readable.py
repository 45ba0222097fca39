# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The rows that a raw log gives, as lines to read and to compare.

A line a row of `operations`, with its effects below it, then effects without an operation,
namespaces, processes, users and losses. Times are left out. Namespaces and mounts are numbered in
the order in which they are told of: N1, N2, M1, M2. Of snapshots and mounts there are the counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

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
PROCESS = ("parent", "uid", "comm", "parent_comm", "command", "cgroup_path")


class Names(dict[int, str]):
    """Numbers become short names, in the order in which they come."""

    def __init__(self, letter: str) -> None:
        super().__init__()
        self._letter = letter

    def __missing__(self, number: int) -> str:
        self[number] = f"{self._letter}{len(self) + 1}"
        return self[number]


class Readable:
    """Makes lines of the rows of one log."""

    def __init__(self) -> None:
        self._namespaces, self._mounts = Names("N"), Names("M")

    def lines(self, rows: Rows) -> list[str]:
        tables: dict[str, list[AnyRow]] = defaultdict(list)
        for table, row in rows:
            tables[table].append(row)
        effects = defaultdict(list)
        for effect in tables["effects"]:
            effects[effect["seq"]].append(effect)
        lines = []
        for operation in tables["operations"]:
            lines.append(self._operation(operation))
            lines += map(self._effect, effects.pop(operation["seq"], []))
        for seq, others in sorted(effects.items(), key=lambda item: item[0] or 0):
            lines.append("no operation" if seq is None else f"operation {seq} is not there")
            lines += map(self._effect, others)
        lines += map(self._namespace, tables["namespaces"])
        lines += [
            f"process {row['pid']} in {self._name(row['ns_id'])}{_rest(row, PROCESS)}"
            for row in tables["processes"]
        ]
        lines += [
            f"user of {self._mount(row['mnt_id_unique'])} in {self._name(row['ns_id'])}: "
            f"{row['pid']}{_rest(row, ('seq', 'comm', 'how', 'path'))}"
            for row in tables["users"]
        ]
        lines += [f"loss {row['kind']} {row['count']}" for row in tables["losses"] if row["count"]]
        lines += _counts("snapshots", "reason", tables["snapshots"])
        lines += _counts("mounts", "change", tables["mounts"])
        return lines

    def _operation(self, row: AnyRow) -> str:
        result = row["error"] or row["result"]
        spaces = self._name(row["ns_id"])
        if row["ns_target_id"]:
            spaces += f" to {self._name(row['ns_target_id'])}"
        return (
            f"{row['seq']} {row['syscall']}({row['source']!r}, {row['target']!r}) = {result} "
            f"by {row['comm']} {row['pid']}/{row['tid']} in {spaces}{_rest(row, OPERATION)}"
        )

    def _effect(self, row: AnyRow) -> str:
        usual = {"root": "/", "after": row["before"]}
        parts = [
            f"  {row['action']} {row['via'] or '?'} {row['evidence']} {row['pid']}/{row['tid']}",
            f"{self._mount(row['mnt_id_unique'])}={row['mount_id']} in {self._name(row['ns_id'])}",
            f"{row['mountpoint']!r} on {self._mount(row['parent_unique'])} {row['parent_path']!r}",
        ]
        if row["copy_of_unique"]:
            of = f"of {self._mount(row['copy_of_unique'])}"
            parts.append(f"{of} in {self._name(row['copy_of_ns_id'])}")
        if row["via_unique"]:
            parts.append(f"by way of {self._mount(row['via_unique'])}")
        columns = [column for column in EFFECT if row[column] != usual.get(column)]
        return " ".join(parts) + _rest(row, columns)

    def _namespace(self, row: AnyRow) -> str:
        parent = self._name(row["parent_ns_id"]) if row["parent_ns_id"] else "?"
        return f"namespace {self._name(row['ns_id'])} from {parent}{_rest(row, NAMESPACE)}"

    def _name(self, ns_id: int | None) -> str:
        return self._namespaces[ns_id] if ns_id else "?"

    def _mount(self, unique: int | None) -> str:
        return self._mounts[unique] if unique else "?"


def readable(rows: Rows) -> list[str]:
    """Lines of the rows of one log."""
    return Readable().lines(rows)


def _rest(row: AnyRow, columns: Iterable[str]) -> str:
    return "".join(
        f" {column}={row[column]!r}" for column in columns if row[column] not in (None, "", False)
    )


def _counts(table: str, column: str, rows: list[AnyRow]) -> list[str]:
    counts = Counter(row[column] for row in rows)
    return [f"{table} {value} {count}" for value, count in sorted(counts.items())]
