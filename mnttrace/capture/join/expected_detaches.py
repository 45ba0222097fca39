# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that are to go with a call in other namespaces, where that is not reported yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mnttrace.capture.join.effect_rows import Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.limits import REMOVAL_TAKES
from mnttrace.capture.join.mount_list import MountList, whole_lists
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Cause
from mnttrace.capture.join.pending import PendingMountEvents
from mnttrace.capture.join.umounted import via_of
from mnttrace.linux.syscalls import SyscallKind


class Expected(NamedTuple):
    """A mount is to go, or has gone.

    Attributes:
        cause: with what call.
        origin: along with what; via: how it came to that.
        until: when that call had ended (CLOCK_MONOTONIC, ns): what is there later stayed.
    """

    cause: Cause
    origin: MountState | None
    via: Via
    until: int = 0


class ExpectedDetaches:
    """Remembers what is to go, until a list shows that it did, or did not.

    Args:
        tables: the mount tables.
        pending: of which namespaces is reported what goes.
    """

    def __init__(self, tables: MountTables, pending: PendingMountEvents) -> None:
        self._tables = tables
        self._pending = pending
        self._expected: dict[int, Expected] = {}
        # Mounts that a list lacked, and of these the ones that were to go.
        self._absent: set[int] = set()
        self._due: dict[int, None] = {}

    def __contains__(self, unique: object) -> bool:
        """Whether a mount is to go."""
        return unique in self._expected

    def are_of(self, call: CallEnded) -> bool:
        """Whether some are to go with a call."""
        return any(one.cause.seq == call.row["seq"] for one in self._expected.values())

    def take(self, unique: int) -> Expected | None:
        """With what a mount went that was to go; that is not expected any more."""
        self._absent.discard(unique)
        self._due.pop(unique, None)
        return self._expected.pop(unique, None)

    def take_due(self) -> list[int]:
        """The mounts that were to go, and that a list lacked, since this was asked for."""
        due, self._due = list(self._due), {}
        return due

    def copies(
        self, call: CallEnded, gone: list[MountState], origins: Mapping[int, MountState | None]
    ) -> None:
        """What is at the same place on peers and slaves goes, too (propagate_umount(), fs/pnode.c).

        It goes with what the call itself took, also where only a copy of that leads to it: that a
        copy's parent got another master may not be known yet.

        Args:
            call: a umount.
            gone: what it detached.
            origins: along with what each of these went.
        """
        here = {mount.unique for mount in gone}
        seen = set()
        for mount in gone:
            parent = self._tables.recall(mount.parent)
            # What is on peers at the same place propagates to the same mounts.
            if parent is None or not parent.group or (parent.group, mount.mountpoint.key) in seen:
                continue
            seen.add((parent.group, mount.mountpoint.key))
            for receiver in self._tables.receivers(parent):
                there = self._tables.child_at(receiver, mount.mountpoint.key)
                if there is None or there.unique in here:
                    continue
                if self._can_go_unseen(there.key, call):
                    origin = origins[mount.unique] or mount
                    self._expect(there.unique, call, origin, via_of(there, origin, self._tables))

    def on_file(self, call: CallEnded, mount: MountState) -> None:
        """What is on the file that a call removed goes in all namespaces, with all below it.

        Args:
            call: it removed or renamed that.
            mount: one that was on it.
        """
        for key in self._tables.namespaces():
            if not self._can_go_unseen(key, call):
                continue
            for other in self._tables.attached(sorted(self._tables.of_namespace(key))):
                if other.mountpoint.is_same(mount.mountpoint):
                    for unique in self._tables.tree(other.unique):
                        self._expect(unique, call, None, "mountpoint-removed")

    def found(self, present: AbstractSet[int], at: int) -> None:
        """Some mounts were listed: what was to go by then, and is there, stayed.

        Args:
            present: their unique ids.
            at: the list was begun after that; CLOCK_MONOTONIC, ns.
        """
        if self._expected:
            for unique in self._expected.keys() & present:
                if self._expected[unique].until < at:
                    del self._expected[unique]

    def lacks(self, uniques: Iterable[int]) -> None:
        """A list lacks some mounts that were there, and nothing was reported of them: they went
        with a call that was taken, or with one that is not over yet."""
        for unique in uniques:
            self._absent.add(unique)
            if unique in self._expected:
                self._due[unique] = None

    def look_for_absent(self, lists: Iterable[MountList]) -> None:
        """Namespaces that nobody reports of yet were listed: see what is no longer there.

        A list that lacks even the root is of a namespace that is ending: no call takes that.
        """
        for key, present in whole_lists(lists):
            root = self._tables.root_of(key)
            if root and root.unique not in present:
                continue
            lacking = self._tables.of_namespace(key) - present
            self.lacks(one for one in lacking if not self._pending.has_detached(one))

    def released(self, call: CallEnded) -> MountState | None:
        """What a thread was about to free after a call, where nothing is reported of it yet: the
        lowest mount of that tree which is no longer there."""
        mount = self._tables.get(call.last_released)
        if mount is None or self._pending.has_detached(mount.unique):
            return None
        seen = {mount.unique}
        while mount.parent in self._absent - seen and (parent := self._tables.get(mount.parent)):
            mount = parent
            seen.add(mount.unique)
        return mount

    def are_absent(self, uniques: AbstractSet[int]) -> AbstractSet[int]:
        """Those of some mounts that a list lacked."""
        return self._absent & uniques

    def _can_go_unseen(self, key: int, call: CallEnded) -> bool:
        """Whether what a call takes in a namespace is not reported."""
        began = call.row["monotonic"]
        if call.kind == SyscallKind.REMOVE:
            began -= REMOVAL_TAKES
        return not self._pending.is_watched(key, began) and self._pending.was_there(key, began)

    def _expect(self, unique: int, call: CallEnded, origin: MountState | None, via: Via) -> None:
        self._expected.setdefault(unique, Expected(Cause.of(call.row), origin, via, call.end))
        if unique in self._absent:
            self._due[unique] = None
