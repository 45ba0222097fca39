# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the core tells of a raw log, to be held against what is known of the scenario."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnttrace.capture.stream.raw_log import RawLog
from tests.rejoined import joined
from tests.replay.make_logs import LOGS

AnyRow = Mapping[str, Any]


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
        self.operations: dict[int, AnyRow] = {row["seq"]: row for row in self.table("operations")}
        self.effects = self.table("effects")

    def table(self, name: str) -> list[Any]:
        return [row for table, row in self.rows if table == name]

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
