# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who uses what could not be unmounted: rows of the table `users`."""

from __future__ import annotations

from mnttrace.capture.join.events import CallEnded, UsersFound
from mnttrace.capture.join.limits import SEARCH_USERS
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
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
        # The mounts of the search that goes on, by the ids that are asked for.
        self._mounts: dict[int, MountState] = {}

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
        self._mounts = {_id_of_kernel(mount): mount for mount in same}
        self._asked = call.at
        self._out.ask(FindUsers(call.row["seq"], device, frozenset(self._mounts)))

    def found(self, event: UsersFound) -> None:
        """A search has ended."""
        self._asked = event.at
        for user in event.users:
            mount = self._mounts.get(user.mount)
            if mount is not None:
                self._out.add(
                    "users",
                    {
                        "ts": event.at + self._offset,
                        "monotonic": event.at,
                        "seq": event.seq,
                        "ns_id": mount.key,
                        "mnt_id_unique": mount.unique,
                        "pid": user.pid,
                        "comm": user.comm,
                        "how": user.how,
                        "path": user.path,
                    },
                )


def _id_of_kernel(mount: MountState) -> int:
    """The id that statx(2) has for a mount: the unique one, unless that is made up."""
    return mount.unique if mount.unique < FIRST_MADE_UP else mount.mount_id
