# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The list of a namespace after a call: what the call moved and changed there, and what went."""

from __future__ import annotations

from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.made_mounts import MadeMounts, age
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.outbox import Cause
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import HOW_COVERED, HOW_PROPAGATED, LIST_AFTER, MountEntry

_Pair = tuple[MountState, MountEntry]  # a mount as it was, and as it is


class ChangedMounts:
    """Writes what calls moved and changed.

    Args:
        known: kept up to date.
        made: writes the copies that calls made.
    """

    def __init__(self, known: KnownMounts, made: MadeMounts) -> None:
        self._known = known
        self._made = made

    def take(self, call: CallEnded, lists: list[MountList]) -> list[int]:
        """The mounts of the call's namespace, all or those which the call can have changed, as they
        were after it; those that a umount took."""
        tables = self._known.tables
        entries = [entry for found in lists for entry in found.entries if entry.mntns_id]
        self._name_mountpoints(call, entries)
        listed = [entry for entry in entries if entry.how not in (HOW_PROPAGATED, HOW_COVERED)]
        key, cause = lists[0].key, Cause.of(call.row)
        when = Cause(None, cause.ts, cause.monotonic)
        is_whole = lists[0].is_first and lists[-1].is_last and not call.is_cut
        is_whole = is_whole and lists[-1].reason == LIST_AFTER
        missing = self._missing(call, key, listed, when) if is_whole else set()
        both = [(tables.get(entry.unique), entry) for entry in listed]
        self._take_changes(call, both, entries, when)
        if call.kind == SyscallKind.RECONFIGURE or call.mount_action == "remount":
            self._known.changes.super_blocks(listed, "kernel", cause)
        if is_whole:
            self._known.changes.looked_at({entry.unique for entry in listed})
        for before, entry in both:
            # What no call is known to have attached may be of one that is not over.
            is_new = before is None and entry.unique not in tables
            if is_new and self._known.pending.attached.was_cut(entry.unique):
                self._known.missed(self._known.naming.make(entry, call.names, None), when)
        left = sorted(missing & tables.of_namespace(key))
        if call.kind == SyscallKind.UMOUNT:
            return left
        if not self._known.pending.is_watched(key, call.row["monotonic"]):
            self._known.detaches.missing(left, when)
        return []

    def _missing(
        self, call: CallEnded, key: int, listed: list[MountEntry], when: Cause
    ) -> set[int]:
        """The mounts that the whole list of a namespace lacks. What was to go with an earlier call
        is taken away: what lay on that had moved before this one."""
        present = {entry.unique for entry in listed}
        self._known.detaches.expected.found(present, call.row["monotonic"])
        there_at = self._known.there_at
        missing = {
            unique
            for unique in self._known.tables.of_namespace(key) - present
            if there_at.get(unique, call.end) <= call.end
        }
        self._known.detaches.apply_expected(sorted(missing), when)
        return missing

    def _take_changes(
        self,
        call: CallEnded,
        both: list[tuple[MountState | None, MountEntry]],
        entries: list[MountEntry],
        when: Cause,
    ) -> None:
        """Write what was moved and changed, by the call or before it.

        Args:
            call: the call.
            both: the mounts of its namespace as they were, where they are known, and as they are.
            entries: these, and the copies of what the call moved.
            when: the time of what was not by the call.
        """
        changes, cause = self._known.changes, Cause.of(call.row)
        # Most of a list is as it was before.
        other = [
            (mount, entry)
            for mount, entry in both
            if mount is not None
            and (
                mount.is_set_otherwise(entry)
                or mount.has_moved(entry)
                or changes.are_expected(mount.unique)
            )
        ]
        # What the call moved comes first: its copies are propagated from where it is then. What
        # has a copy for its parent comes after that copy, which was slipped beneath it.
        self._take_own(call, other, with_copies=False)
        for entry in sorted(entries, key=age):
            if entry.how in (HOW_PROPAGATED, HOW_COVERED):
                self._made.take_entry(call, entry, cause)
        self._take_own(call, other, with_copies=True)
        for mount, entry in other:
            changes.found(mount, entry, when, cause)

    def _take_own(self, call: CallEnded, known: list[_Pair], with_copies: bool) -> None:
        """Write what the call itself moved and changed.

        Args:
            call: the call.
            known: mounts, and entries that have them as they are after it.
            with_copies: whether the copies that it made are in the tables already.
        """
        moved = [(mount, entry) for mount, entry in known if mount.has_moved(entry)]
        if not with_copies:
            moved = [
                (mount, entry)
                for mount, entry in moved
                if entry.parent_unique in self._known.tables
            ]
        elif not moved:
            return
        concerned = self._concerned(call, moved if call.can_move else [])
        for mount, entry in known:
            if concerned is None or mount.unique in concerned:
                self._known.changes.by_call(mount, entry, call)

    def _name_mountpoints(self, call: CallEnded, entries: list[MountEntry]) -> None:
        """Find where mounts were moved to, before anything is: the call's paths are of that time.
        Copies are at mount points of the same names."""
        for entry in entries:
            known = self._known.tables.get(entry.unique)
            if known is not None and known.has_moved(entry) and entry.how != HOW_COVERED:
                path = self._known.naming.new_mountpoint(entry, call)
                if path is not None:
                    call.names[entry.mountpoint] = path

    def _concerned(self, call: CallEnded, moved: list[_Pair]) -> set[int] | None:
        """The mounts that a call can have changed itself; None: any. What was moved is moved."""
        if moved:
            # A tree that comes to a shared mount becomes shared (attach_recursive_mnt()).
            trees = {
                unique for mount, _ in moved for unique in self._known.tables.tree(mount.unique)
            }
            self._made.move(call, moved, "direct")
            return trees
        if call.kind in (SyscallKind.UMOUNT, SyscallKind.PIVOT, SyscallKind.RECONFIGURE):
            return set()
        unique = call.row["path_unique"]
        if unique:
            target = self._known.tables.get(unique)
        else:
            target = self._known.tables.at(call.key, call.row["path"])
        if target is None:
            return None
        return set(self._known.tables.tree(target.unique)) if call.is_recursive else {target.unique}
