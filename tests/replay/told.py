# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the core tells of a raw log, to be held against what is known of the scenario."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnttrace.capture.stream.raw_log import RawLog
from tests.rejoined import joined
from tests.replay.make_logs import LOGS

AnyRow = Mapping[str, Any]


NEXT = 1 << 40


def tell_apart(tables: Mapping[str, list[dict[str, Any]]]) -> None:
    """Give each mount namespace an id of its own: before Linux 6.11 `ns_id` is the inode number,
    which the next namespace gets at once. A mount is in one all its life."""
    births: dict[int, list[int]] = defaultdict(list)
    for row in tables["operations"]:
        if row["ns_target_id"] and row["syscall"] != "setns":
            births[row["ns_target_id"]].append(row["seq"])

    def own(ns_id: int, seq: int) -> int:
        before = sum(birth <= seq for birth in births[ns_id])
        return ns_id + NEXT * max(0, before - 1)

    of_mount: dict[int, int] = {}
    for row in tables["effects"]:
        unique, seq = row["mnt_id_unique"], row["seq"]
        if row["action"] == "attach" and seq is not None:
            of_mount[unique] = own(row["ns_id"], seq)
    for row in tables["effects"]:
        row["ns_id"] = of_mount.get(row["mnt_id_unique"], row["ns_id"])
        if row["copy_of_ns_id"]:
            row["copy_of_ns_id"] = of_mount.get(row["copy_of_unique"], row["copy_of_ns_id"])
    for row in tables["operations"]:
        row["ns_id"] = own(row["ns_id"], row["seq"] - 1)
        if row["ns_target_id"]:
            row["ns_target_id"] = own(row["ns_target_id"], row["seq"])
    for row in tables["namespaces"]:
        if row["seq"]:
            row["ns_id"] = own(row["ns_id"], row["seq"])
        if row["parent_ns_id"]:
            row["parent_ns_id"] = own(row["parent_ns_id"], row["seq"] - 1)


class Told:
    """The rows that a raw log gives.

    Attributes:
        log: the raw log.
        rows: all of them, as (table, row).
        backend: with which it was recorded.
        operations: by their numbers.
        effects: of all mounts.
    """

    def __init__(self, log: RawLog) -> None:
        self.log = log
        self.rows = joined(log)
        self.backend = log.header.setting.backend
        self._tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for table, row in self.rows:
            self._tables[table].append(dict(row))
        tell_apart(self._tables)
        self.operations: dict[int, AnyRow] = {row["seq"]: row for row in self.table("operations")}
        self.effects = self.table("effects")

    def table(self, name: str) -> list[Any]:
        return self._tables[name]

    def namespace(self, name: str) -> int:
        """The id of the namespace in which `sh NAME.sh` runs."""
        [found] = {
            row["ns_id"]
            for row in self.table("namespaces")
            if f"{name}.sh" in row["command"].split()
        }
        return int(found)

    def of(self, source: str, **columns: object) -> list[AnyRow]:
        """The effects on the mounts of a source, with these values in columns."""
        return [
            row
            for row in self.effects
            if row["source"] == source and columns.items() <= row.items()
        ]

    def reach(self, source: str, action: str) -> Counter[tuple[int, str]]:
        """To how many mounts of a source something happened: by namespace and via."""
        return Counter((row["ns_id"], row["via"]) for row in self.of(source, action=action))

    def call(self, effect: AnyRow) -> AnyRow:
        """The operation of an effect."""
        return self.operations[effect["seq"]]

    def calls(self, **columns: object) -> list[AnyRow]:
        """The operations with these values in columns."""
        return [row for row in self.operations.values() if columns.items() <= row.items()]


def paths(scenario: str = "*") -> list[Path]:
    """The raw logs of a scenario."""
    return sorted(LOGS.glob(f"*/{scenario}.arrows"))


def name(path: Path) -> str:
    """What a test of a raw log is called."""
    return f"{path.parent.name}/{path.stem}"


@functools.cache
def told(path: Path) -> Told:
    """What the core tells of a raw log."""
    return Told(RawLog(path))
