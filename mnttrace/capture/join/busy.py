# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who uses what could not be unmounted: rows of the table `users`."""

from __future__ import annotations

from mnttrace.capture.join.events import CallEnded, UsersFound
from mnttrace.capture.join.limits import SEARCH_USERS
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import FindUsers


class BusyMounts:
    """Asks for those who use a mount whose umount was refused, or a copy of it.

    Args:
        tables: the mount tables, as they are now.
        out: takes questions and rows.
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.

    Attributes:
        unsearched: how often it did not: the last search was but now, or the mount is not known.
    """

    def __init__(self, tables: MountTables, out: Outbox, wall_offset: int) -> None:
        self.unsearched = 0
        self._tables = tables
        self._out = out
        self._offset = wall_offset
        self._asked: int | None = None
        # Mount → its namespace, for the search that goes on.
        self._namespaces: dict[int, int] = {}

    def refused(self, call: CallEnded) -> None:
        """A umount was refused, as the mount is busy."""
        target = self._tables.at(call.key, call.row["path"])
        if target and len(self._tables.tree(target.unique)) > 1:
            return  # it is what is mounted there that keeps it busy
        is_soon = self._asked is not None and call.at - self._asked < SEARCH_USERS
        if target is None or is_soon:
            self.unsearched += 1
            return
        device = target.filesystem.device
        same = [one for one in self._tables.of_device(device) if one.root.path == target.root.path]
        self._namespaces = {mount.unique: mount.key for mount in same}
        self._asked = call.at
        self._out.ask(FindUsers(call.row["seq"], device, frozenset(self._namespaces)))

    def found(self, event: UsersFound) -> None:
        """A search has ended."""
        self._asked = event.at
        for user in event.users:
            namespace = self._namespaces.get(user.mount)
            if namespace is not None:
                self._out.add(
                    "users",
                    {
                        "ts": event.at + self._offset,
                        "monotonic": event.at,
                        "seq": event.seq,
                        "ns_id": namespace,
                        "mnt_id_unique": user.mount,
                        "pid": user.pid,
                        "comm": user.comm,
                        "how": user.how,
                        "path": user.path,
                    },
                )
