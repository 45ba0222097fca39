# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount tables of all mount namespaces, written as changes against the table before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mnttrace.linux import mountinfo
from mnttrace.recording.rows import Row

Add = Callable[[str, Row], None]


@dataclass(slots=True)
class MountTable:
    """The mount table of one namespace, as it was read.

    Attributes:
        ns: inode number of the namespace; ns_id: its unique id, or the inode number again where
            the kernel has none.
        reason: why it was read: start, birth, operation, end; or gone: the namespace has ended.
        started, ended: CLOCK_MONOTONIC around the read, ns.
        mounts: its lines.
        unique_ids: mount id → unique id, where the kernel has such ids.
    """

    ns: int
    ns_id: int
    reason: str
    started: int
    ended: int
    mounts: list[mountinfo.Mount]
    unique_ids: dict[int, int] = field(default_factory=dict)


class Snapshots:
    """The tables as they were last read, written as rows of `snapshots` and `mounts`.

    Args:
        add: takes (table, row), as `recording.writer.Writer.add`.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._tables: dict[int, dict[int, mountinfo.Mount]] = {}
        self._unique: dict[int, dict[int, int]] = {}
        self._next = 0

    def take(self, read: MountTable, operations: int) -> None:
        """Write how a mount table differs from the last one of its namespace.

        Args:
            read: the table; an empty one is ignored.
            operations: how many had been received before it was read.
        """
        if not read.mounts:
            return
        key = read.ns_id
        table = {mount.mount_id: mount for mount in read.mounts}
        first = key not in self._tables
        before = self._tables.get(key, {})
        if not first and table == before and read.reason == "operation":
            return
        old_unique = self._unique.get(key, {})
        unique = read.unique_ids
        snapshot = self._snapshot(read, operations)
        for mount in before.values():
            now = table.get(mount.mount_id)
            if now is None or _is_another(now, mount, unique, old_unique):
                self._row(snapshot, read, "removed", mount, old_unique)
        for mount in read.mounts:
            old = before.get(mount.mount_id)
            another = old is None or _is_another(mount, old, unique, old_unique)
            if old == mount and not another:
                continue
            change = "added" if another else "changed"
            self._row(snapshot, read, "initial" if first else change, mount, unique)
        self._tables[key] = table
        self._unique[key] = unique

    def gone(self, ns: int, ns_id: int, at: int, operations: int) -> None:
        """Write that a namespace has ended.

        Args:
            ns, ns_id: as of :class:`MountTable`.
            at: when its end was found, CLOCK_MONOTONIC, ns.
            operations: how many had been received before it was read.
        """
        if ns_id not in self._tables:
            return
        read = MountTable(ns, ns_id, "gone", at, at, [])
        snapshot = self._snapshot(read, operations)
        unique = self._unique.pop(ns_id)
        for mount in self._tables.pop(ns_id).values():
            self._row(snapshot, read, "removed", mount, unique)

    def _snapshot(self, read: MountTable, operations: int) -> int:
        self._next += 1
        self._add(
            "snapshots",
            {
                "snapshot": self._next,
                "ns": read.ns,
                "ns_id": read.ns_id,
                "started": read.started,
                "ended": read.ended,
                "reason": read.reason,
                "operations": operations,
            },
        )
        return self._next

    def _row(
        self,
        snapshot: int,
        read: MountTable,
        change: str,
        mount: mountinfo.Mount,
        unique: dict[int, int],
    ) -> None:
        self._add(
            "mounts",
            {
                "snapshot": snapshot,
                "ns": read.ns,
                "ns_id": read.ns_id,
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
    """Whether a mount id belongs to another mount than before.

    Unique ids decide where both are known; else device, root and type do.
    """
    ids = unique.get(now.mount_id), old_unique.get(before.mount_id)
    if None not in ids:
        return ids[0] != ids[1]
    return (now.device, now.root, now.fstype) != (before.device, before.root, before.fstype)
