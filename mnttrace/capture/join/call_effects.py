# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What one call did, in every namespace.

The kernel's lists at the end of a call say which mounts it made, with their peers and slaves, or
what is mounted in its namespace, or in one that it made. What it detached is reported by thread
(:mod:`mnttrace.capture.join.pending`). All is joined by unique ids, so what is reported twice is
one effect.
"""

from __future__ import annotations

from typing import NamedTuple

from mnttrace.capture.join.born_mounts import take_born
from mnttrace.capture.join.changed_mounts import ChangedMounts
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.made_mounts import MadeMounts
from mnttrace.capture.join.mount_list import MountList, lists_of_unwatched, namespace_key
from mnttrace.capture.join.requests import NameMount
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import (
    HOW_PROPAGATED,
    LIST_AFTER,
    LIST_BIRTH,
    LIST_CHANGED,
    LIST_MADE,
)


class Birth(NamedTuple):
    """A mount namespace that a call made: its inode number and its unique id."""

    ns: int
    ns_id: int

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)


class CallEffects:
    """Writes the effects of calls.

    Args:
        known: kept up to date.
    """

    def __init__(self, known: KnownMounts) -> None:
        self._known = known
        self._made = MadeMounts(known)
        self._changed = ChangedMounts(known, self._made)

    def unnamed(self, call: CallEnded) -> list[NameMount]:
        """What is to be asked before a call is taken."""
        tables, attached = self._known.tables, self._known.pending.attached
        new = []
        for found in call.lists:
            are_made = found.reason in (LIST_MADE, LIST_BIRTH)
            new += [
                entry
                for entry in found.entries
                if entry.unique not in tables
                and entry.mntns_id
                and (are_made or entry.how == HOW_PROPAGATED or attached.was_cut(entry.unique))
            ]
        return self._known.naming.ask_anew(new, call.names) if new else []

    def take(self, call: CallEnded) -> Birth | None:
        """Write the effects of a call that succeeded; the namespace that it made, if it did."""
        made, after, born = _by_reason(call.lists)
        unwatched = lists_of_unwatched(call.lists)
        if made:
            self._made.take(call, made)
        missing = self._changed.take(call, after) if after else []
        if born:
            take_born(call, born, self._known)
        if unwatched:
            self._known.detaches.expected.look_for_absent(unwatched)
        if call.kind == SyscallKind.UMOUNT:
            self._known.detaches.by_umount(call, missing)
        elif call.kind == SyscallKind.REMOVE:
            self._known.detaches.by_removal(call)
        elif call.row["ns_after"] != call.row["ns"]:
            self._known.detaches.by_leaving(call)
        if unwatched:
            self._known.detaches.by_lists(call, unwatched)
        if call.is_cut:
            self._known.pending.attached.remember_cut(call)
        return Birth(born[0].ns, born[0].ns_id) if born else None


def _by_reason(lists: list[MountList]) -> tuple[list[MountList], ...]:
    """The lists of what a call made, of its namespace after it, and of one that it made."""
    made, after, born = [], [], []
    for found in lists:
        if found.reason == LIST_MADE:
            made.append(found)
        elif found.reason in (LIST_AFTER, LIST_CHANGED):
            after.append(found)
        elif found.reason == LIST_BIRTH:
            born.append(found)
    return made, after, born
