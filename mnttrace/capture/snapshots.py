"""Mount tables of all mount namespaces, written as changes against the table before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mnttrace.capture.surveys import Survey
from mnttrace.linux import mountinfo

Add = Callable[[str, dict[str, Any]], None]


class Snapshots:
    """The tables as last seen, and the rows that say how they came to be so.

    Args:
        add: takes (table, row), as `recording.writer.Writer.add`.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._tables: dict[int, dict[int, mountinfo.Mount]] = {}
        self._unique: dict[int, dict[int, int]] = {}
        self._next = 0

    def take(self, survey: Survey, operations: int) -> None:
        """Write what a survey found that is not as it was.

        Args:
            survey: with a table; one without is not written.
            operations: how many had been received before.
        """
        if not survey.table:
            return
        key = survey.key
        table = {mount.mount_id: mount for mount in survey.table}
        first = key not in self._tables
        before = self._tables.get(key, {})
        if not first and table == before and survey.reason == "operation":
            return
        old_unique = self._unique.get(key, {})
        unique = survey.unique_ids
        snapshot = self._snapshot(survey, operations)
        for mount in before.values():
            now = table.get(mount.mount_id)
            if now is None or _is_another(now, mount, unique, old_unique):
                self._row(snapshot, survey, "removed", mount, old_unique)
        for mount in survey.table:
            old = before.get(mount.mount_id)
            another = old is None or _is_another(mount, old, unique, old_unique)
            if old == mount and not another:
                continue
            change = "added" if another else "changed"
            self._row(snapshot, survey, "initial" if first else change, mount, unique)
        self._tables[key] = table
        self._unique[key] = unique

    def gone(self, key: int, ns: int, operations: int) -> None:
        """Write that a namespace no longer is; `ns` was its inode number."""
        if key not in self._tables:
            return
        now = time.monotonic_ns()
        survey = Survey(ns, key, None, "gone", now, now, [])
        snapshot = self._snapshot(survey, operations)
        unique = self._unique.pop(key)
        for mount in self._tables.pop(key).values():
            self._row(snapshot, survey, "removed", mount, unique)

    def _snapshot(self, survey: Survey, operations: int) -> int:
        self._next += 1
        self._add(
            "snapshots",
            {
                "snapshot": self._next,
                "ns": survey.ns,
                "ns_id": survey.key,
                "started": survey.started,
                "ended": survey.ended,
                "reason": survey.reason,
                "operations": operations,
            },
        )
        return self._next

    def _row(
        self,
        snapshot: int,
        survey: Survey,
        change: str,
        mount: mountinfo.Mount,
        unique: dict[int, int],
    ) -> None:
        self._add(
            "mounts",
            {
                "snapshot": snapshot,
                "ns": survey.ns,
                "ns_id": survey.key,
                "change": change,
                "mount_id": mount.mount_id,
                "mnt_id_unique": unique.get(mount.mount_id),
                "parent_id": mount.parent_id,
                "device": mount.device,
                "root": mount.root,
                "mountpoint": mount.mountpoint,
                "options": mount.options,
                "shared": mount.shared,
                "master": mount.master,
                "propagation": mount.propagation,
                "unbindable": mount.unbindable,
                "fstype": mount.fstype,
                "source": mount.source,
                "super_options": mount.super_options,
            },
        )


def _is_another(
    now: mountinfo.Mount,
    before: mountinfo.Mount,
    unique: dict[int, int],
    old_unique: dict[int, int],
) -> bool:
    """Is a mount id used for another mount than before? Unique ids tell; else what it shows."""
    ids = unique.get(now.mount_id), old_unique.get(before.mount_id)
    if None not in ids:
        return ids[0] != ids[1]
    return (now.device, now.root, now.fstype) != (before.device, before.root, before.fstype)
